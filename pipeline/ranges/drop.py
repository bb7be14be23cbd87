"""A range is dropped: looked at, counted, taken out of its tables, and then its tables go.

From the moment that its sums are written down it counts by them alone, so the balance closes at every step between.
Whatever cuts a drop off, the next run goes on with it. Nobody who reads or writes other ranges waits: a range leaves
its table by ``DETACH PARTITION CONCURRENTLY``, which waits for them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, literal, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from pipeline.database import tables
from pipeline.database.audit import record_action
from pipeline.database.engine import each_by_itself, is_lock_timeout
from pipeline.database.ranges import KEYS, all_ranges, part_of
from pipeline.errors import PipelineError
from pipeline.ranges.alone import alone
from pipeline.ranges.facts import look
from pipeline.ranges.rules.against import against

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.archive.store import ArchiveStore
    from pipeline.balance.sheet import Balance
    from pipeline.database.ranges import Range

    Progress = Callable[[str], None]
    """Told what is being done."""

HOOK_SECONDS: Final = 3600.0
ROWS_AT_ONCE: Final = 10_000
BESIDE: Final = {
    "edits": "record_id",
    "revisions": "record_id",
    "conflicts": "record_id",
    "answered_seconds": "call_id",
}
"""What goes with it of the tables that are no ranges, for there is little of it."""


class DropError(PipelineError):
    """The range is not dropped, or not yet to the end; what was done stays done, and the next run goes on."""


class NoSuchRangeError(DropError):
    """There is none of that name that could be dropped."""


class Looked(NamedTuple):
    """What was found of a range.

    Attributes:
        sheet: what its records come to; None: it was looked at before, and its drop goes on.
        reasons: what stands against dropping it, each a sentence.
    """

    range: Range
    sheet: Balance | None
    reasons: list[str]


def look_at(
    engine: Engine, store: ArchiveStore | None, name: str, *, progress: Progress = lambda _what: None
) -> Looked:
    """See whether a range can be dropped; nothing is changed.

    Args:
        engine: the database.
        store: the archive; None: there is none.
        name: of the range.
        progress: told what is looked at.

    Raises:
        NoSuchRangeError: there is no such range, or it is gone.
        ArchiveAwayError: the archive does not answer.
    """
    with engine.connect() as connection:
        known = {each.name: each for each in all_ranges(connection)}
    one = known.get(name)
    if one is None:
        raise NoSuchRangeError(f"there is no range {name}: `pipeline ranges list` says which there are")
    if one.drop_began_at is not None and one.dropped_at is None:
        return Looked(one, None, [])
    if not one.is_there:
        raise NoSuchRangeError(f"range {name} was dropped already, on {one.dropped_at:%Y-%m-%d}")
    found = look(engine, store, one, progress=progress)
    facts = found.facts
    if one.dropped_at is not None:
        # Brought back from the archive, in part: what it comes to was written down when it was dropped first.
        facts = facts._replace(violations=(), earlier=(), unfinished=0)
    return Looked(one, found.sheet, against(facts))


def drop(
    engine: Engine,
    looked: Looked,
    *,
    who: str,
    because: str,
    hook: str | None = None,
    progress: Progress = lambda _what: None,
) -> None:
    """Drop a range, or go on with a drop that was cut off.

    Args:
        engine: of the tables' owner.
        looked: what `look_at` has just found.
        who: does it.
        because: why, for the record.
        hook: a command to run when its tables stand alone, before they go; it ends with 0, or they stay.
        progress: told what is done.

    Raises:
        DropError: something stands against it, or its drop cannot go on now.
    """
    if looked.reasons:
        raise DropError(f"range {looked.range.name} stays: {'; '.join(looked.reasons)}")
    with alone(engine, DropError("another run is moving or dropping ranges: wait until it is done")):
        _begin(engine, looked, who=who, because=because)
        try:
            with each_by_itself(engine) as connection:
                _go_on(connection, looked.range, hook, progress)
        except DropError as error:
            with engine.begin() as connection:
                _write(connection, looked.range, trouble=str(error))
            raise
    with engine.begin() as ended:
        _write(ended, looked.range, dropped_at=func.now(), trouble=None)
        record_action(ended, who, "range dropped", {"range": looked.range.name, "reason": because})


def _begin(engine: Engine, looked: Looked, *, who: str, because: str) -> None:
    values: dict[str, Any] = {"dropped_by": who, "because": because, "trouble": None}
    if looked.sheet is not None:
        # Sums that are there stay: they were worked out when all of it was.
        of = tables.ranges.c
        values["drop_began_at"] = func.coalesce(of.drop_began_at, func.now())
        values["sums"] = func.coalesce(of.sums, literal(looked.sheet.as_dict(), JSONB))
    with engine.begin() as connection:
        _write(connection, looked.range, **values)


def _write(connection: Connection, one: Range, **values: Any) -> None:
    connection.execute(update(tables.ranges).where(tables.ranges.c.name == one.name).values(**values))


def _go_on(connection: Connection, one: Range, hook: str | None, progress: Progress) -> None:
    for table in KEYS:
        progress(f"taking out of {table}")
        _take_out(connection, table, part_of(table, one.name))
    left = [part for table in KEYS if _is_there(connection, part := part_of(table, one.name))]
    if hook is not None and left:
        progress("the hook")
        _run_hook(hook, one, left)
    for part in left:
        progress(f"dropping {part}")
        connection.execute(text(f"DROP TABLE IF EXISTS {part}"))
    for table, key in BESIDE.items():
        progress(f"clearing {table}")
        _clear(connection, one, table, key)
    _clear(connection, one, "failures", "record_id", "AND state NOT IN ('open', 'retrying')")


def _is_there(connection: Connection, part: str) -> bool:
    return connection.scalar(text("SELECT to_regclass(:part)"), {"part": part}) is not None


_ATTACHED: Final = text(
    "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(:part) AND inhparent = to_regclass(:table)"
)


def _take_out(connection: Connection, table: str, part: str) -> None:
    pending = connection.scalar(_ATTACHED, {"table": table, "part": part})
    if pending is None:
        return
    # It waits for every transaction that reads or writes the table; nobody waits for it.
    connection.execute(text("SET lock_timeout = '10min'"))
    try:
        connection.execute(
            text(f"ALTER TABLE {table} DETACH PARTITION {part} {'FINALIZE' if pending else 'CONCURRENTLY'}")
        )
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise
        raise DropError(
            f"somebody has held table {table} for ten minutes: end that (pg_stat_activity says who), and run it again"
        ) from None
    finally:
        connection.execute(text("RESET lock_timeout"))


def _run_hook(hook: str, one: Range, parts: list[str]) -> None:
    about = {"CDR_RANGE": one.name, "CDR_RANGE_TABLES": " ".join(parts)}
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command
            shlex.split(hook), env=os.environ | about, check=False, timeout=HOOK_SECONDS, capture_output=True, text=True
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise DropError(f"the hook could not be run, so nothing was dropped: {error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise DropError(f"the hook ended with {done.returncode}, so nothing was dropped: {said[0][:200]}")


def _clear(connection: Connection, one: Range, table: str, key: str, more: str = "") -> None:
    query = text(
        f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {key} BETWEEN :first AND :last {more} "
        f"ORDER BY {key} LIMIT {ROWS_AT_ONCE}) {more}"
    )
    while connection.execute(query, one.bounds).rowcount == ROWS_AT_ONCE:
        pass
