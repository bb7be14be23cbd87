"""A run: the files of a provider against our calls of a period, each line and each call in exactly one class.

The comparison reads one state of the database and writes in another transaction: all of a run is there, or nothing. Run
again on the same files and calls it comes to the same, item by item.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from pipeline.accounts import reconcile_rows as rows
from pipeline.accounts.reconcile_files import check_provider, files_of
from pipeline.accounts.reconcile_sides import Sides, differences, gather
from pipeline.accounts.rules.classes import NO_SUCH_CALL
from pipeline.accounts.rules.offset import Offset, Part
from pipeline.accounts.rules.reconciling import Period, Totals, items_of, rules, unread
from pipeline.completeness.missing_lines import MissingLine, keep_missing_lines
from pipeline.database.audit import record_action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.accounts.reconcile_files import ProviderFile
    from pipeline.accounts.reconcile_sides import Inputs
    from pipeline.accounts.rules.reconciling import Item

    Progress = Callable[[int, int], None]
    """Told how many lines and calls were compared, and how many there are."""

CAUSES_KEPT: Final = 10
"""Of a class, the commonest."""
MOST_CASES: Final = 10_000
"""A run opens no more cases of completeness: that many calls that never came is one finding, not so many."""


class Result(NamedTuple):
    """What a run came to."""

    run: rows.Run
    cases: int
    """Missing calls that were opened; those that were open already are none."""
    replaced: int
    """Earlier runs of the period, which this one takes the place of."""


def reconcile(engine: Engine, wanted: rows.Wanted, *, who: str, progress: Progress = lambda _done, _of: None) -> Result:
    """Compare a period of a provider.

    Args:
        engine: the database; two connections are used at once.
        wanted: what.
        who: does it.
        progress: told how far it is.

    Raises:
        NotReconcilableError: there is no such provider, or its files are not fit for it.
        LockedRunError: some of the period is locked.
        AmbiguousOffsetError: it cannot be told how far the files' clock is from ours.
    """
    with engine.begin() as writer:
        rows.alone(writer, wanted.provider)
        with _one_state(engine) as reader:
            check_provider(reader, wanted.provider)
            rows.check_unlocked(reader, wanted.provider, wanted.since, wanted.until)
            files = files_of(reader, wanted.provider, wanted.since, wanted.until)
            run = _compare(reader, writer, wanted, files, who=who, progress=progress)
        replaced = rows.replace_earlier(writer, run, who)
        cases = _open_cases(writer, run) if run.state == "done" else 0
        detail = {"run": run.id, "provider": run.provider, "since": run.since.isoformat(), "state": run.state}
        record_action(writer, who, "reconciled", detail)
    return Result(run, cases, replaced)


@contextmanager
def _one_state(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the database as it is now, to the end."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        try:
            yield connection
        finally:
            connection.rollback()


def _compare(
    reader: Connection,
    writer: Connection,
    wanted: rows.Wanted,
    files: Sequence[ProviderFile],
    *,
    who: str,
    progress: Progress,
) -> rows.Run:
    ids = [each.id for each in files]
    inputs = gather(reader, wanted.provider, wanted.since, wanted.until, ids)
    offset = _offset(reader, wanted, ids, inputs)
    of = inputs.sums.lines + inputs.looked_at
    sides = Sides(reader, ids, lambda done: progress(done, of))
    period = Period(
        int(wanted.since.timestamp()),
        int(wanted.until.timestamp()),
        tuple((int(each.since.timestamp()), int(each.until.timestamp())) for each in files),
    )
    totals = Totals()
    run_id = rows.insert_run(writer, wanted, who)
    rows.insert_items(writer, run_id, _counted(totals, _items(reader, sides, period, offset, ids)))
    rows.finish(
        writer,
        run_id,
        rules=rules(),
        inputs=_as_inputs(files, inputs, sides),
        offsets=offset.as_dict(),
        totals=_as_totals(totals),
        problems=_problems(totals, inputs, files),
    )
    return rows.run_by_id(writer, run_id)


def _offset(reader: Connection, wanted: rows.Wanted, files: Sequence[int], inputs: Inputs) -> Offset:
    if wanted.offset_seconds is not None:
        return Offset((Part(None, wanted.offset_seconds),), given=True)
    return differences(reader, files, inputs.sums.lines).offset()


def _items(reader: Connection, sides: Sides, period: Period, offset: Offset, files: Sequence[int]) -> Iterator[Item]:
    for lines, calls in sides:
        yield from items_of(lines, calls, period, offset, sides.terms_of)
    bad = reader.execute(
        text("SELECT file_id, line, reason FROM provider_bad_lines WHERE file_id = ANY(:files) ORDER BY file_id, line"),
        {"files": list(files)},
    )
    for file_id, line, reason in bad:
        yield unread(file_id, line, reason)


def _counted(totals: Totals, items: Iterator[Item]) -> Iterator[Item]:
    for item in items:
        totals.add(item)
        yield item


def _problems(totals: Totals, inputs: Inputs, files: Sequence[ProviderFile]) -> list[str]:
    problems = totals.adds_up(inputs.sums)
    listed = sum(each.lines for each in files)
    if listed != inputs.sums.lines:
        problems.append(f"lines: the files were loaded with {listed}, and {inputs.sums.lines} are there")
    return problems


def _as_inputs(files: Sequence[ProviderFile], inputs: Inputs, sides: Sides) -> dict[str, Any]:
    return {
        "files": [
            {
                "id": each.id,
                "name": each.name,
                "sha256": each.sha256,
                "since": each.since,
                "until": each.until,
                "lines": each.lines,
                "bad_lines": each.bad_lines,
            }
            for each in files
        ],
        "ours_sha256": sides.hash_of_ours,
        **inputs.sums.as_dict(),
    }


def _as_totals(totals: Totals) -> dict[str, Any]:
    return {
        item_class: sums.as_dict()
        | {
            "causes": [
                {"cause": cause, "items": items}
                for cause, items in sorted(totals.causes[item_class].items(), key=lambda each: (-each[1], each[0]))[
                    :CAUSES_KEPT
                ]
            ]
        }
        for item_class, sums in totals.by_class.items()
    }


# SQL: the run's missing lines with their numbers, from two tables; `here` is left out, for the call is not missing.
_MISSING: Final = """
SELECT l.file_id, l.line, l.number, l.started_at, l.seconds FROM reconcile_items AS i
JOIN provider_lines AS l ON l.id = i.line_id
WHERE i.run_id = :run AND i.item_class = 'missing here' AND i.cause = :cause ORDER BY i.item LIMIT :limit
"""


def _open_cases(writer: Connection, run: rows.Run) -> int:
    offset = Offset(tuple(Part(**part) for part in run.offsets["parts"]))
    found = writer.execute(text(_MISSING), {"run": run.id, "cause": NO_SUCH_CALL, "limit": MOST_CASES})
    lines = [
        MissingLine(
            row.file_id,
            row.line,
            row.number,
            row.started_at - timedelta(seconds=offset.at(int(row.started_at.timestamp()))[0]),
            row.seconds,
        )
        for row in found
    ]
    files = [each["id"] for each in run.inputs["files"]] if len(lines) < MOST_CASES else []
    return keep_missing_lines(writer, run.provider, lines, files=files, run_id=run.id, now=datetime.now(tz=UTC))
