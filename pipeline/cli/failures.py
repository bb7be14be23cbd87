"""``pipeline failures``: what failed, why, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.common import AsJson, Because, FormatOption, Utc, Who, chosen, clock, database, said
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.failure_options import chooses_failures
from pipeline.cli.failures_mended import accept, edit
from pipeline.cli.failures_shown import none_left, passed_over, show_failure
from pipeline.cli.output import complain, console, errors, operator_name, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.failures import operator
from pipeline.failures.listing import FailureFilter, count_failures, list_failures, read_failure
from pipeline.failures.not_open import count_by_state, states_of
from pipeline.failures.rules.readable import readable
from pipeline.failures.stats import failure_stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

app = typer.Typer(help="What failed, why, and what to do about it.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(help="The failure's id, as `list` shows it.")]
Ids = Annotated[list[int] | None, typer.Argument(help="Failures' ids.")]
State = Literal["open", "retrying", "resolved", "discarded", "any"]
All = Annotated[bool, typer.Option("--all", help="All that the filters leave, instead of ids.")]


@app.command("list")
@chooses_failures
def list_(
    wanted: FailureFilter,
    state: Annotated[State, typer.Option(help="Those in one state.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most to show.")] = 50,
    after: Annotated[int, typer.Option(help="Go on after this id.")] = 0,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show failures, oldest first. Exit code 0, whether there are any or not."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    wanted = wanted._replace(states=None if state == "any" else (state,))
    with database() as engine, engine.connect() as connection:
        page = list_failures(connection, wanted, limit=limit, after=after)
        total = count_failures(connection, wanted)
    table = Table("id", "class", "step", "call_ref", "campaign", "tries", "failed", "reason")
    for row in page:
        table.add_row(
            str(row.id), row.failure_class, row.step, row.call_ref, row.campaign_ref, row.attempts,
            times.show(row.last_failed_at), row.sentence,
        )  # fmt: skip
    print_rows(table, format_, [failure.as_json() for failure in page])
    if format_ is Format.TABLE:
        remark(f"{len(page):,} of {counted(total, 'failure')} shown.")


@app.command()
def show(failure_id: Id, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show one failure with its traceback, its raw record and who did what. Exit code 1 when there is none."""
    times = clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        failure = read_failure(connection, failure_id)
    if failure is None:
        complain(f"there is no failure {failure_id}")
        raise typer.Exit(FOUND)
    if as_json:
        raw, others = failure.raw or b"", {"edited": failure.edited, "stored": failure.stored}
        shown = {"raw": raw.hex(), "text": readable(raw)}
        shown |= {name: readable(record) for name, record in others.items() if record is not None}
        print_json(failure.as_json() | shown)
        return
    show_failure(failure, times)


@app.command()
@chooses_failures
def stats(
    wanted: FailureFilter,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most kinds to show.")] = 50,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Count failures by class, step, state and what is wrong, the most first."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        rows, kinds = failure_stats(connection, wanted, limit=limit)
    table = Table("class", "step", "state", "about", "failures", "oldest", "problem")
    for row in rows:
        table.add_row(
            row.failure_class, row.step, row.state, row.about, row.failures, times.show(row.oldest), row.problem
        )
    print_rows(table, format_, [kind.as_json() for kind in rows])
    if format_ is Format.TABLE and kinds > len(rows):
        remark(f"{len(rows):,} of {kinds:,} kinds shown.")


@app.command()
@chooses_failures
def retry(
    wanted: FailureFilter,
    ids: Ids = None,
    who: Who = None,
    *,
    everything: All = False,
) -> None:
    """Try failures again. Exit code 1 when none was open."""
    wanted = _chosen(ids, wanted, everything=everything)
    with database() as engine:
        chunks = operator.retry(engine, wanted, who=who or operator_name())
        _finish(engine, wanted, chunks, "released; their batches go on shortly")


@app.command()
@chooses_failures
def discard(
    because: Annotated[str, typer.Option(help="Why; kept with the record.", callback=said)],
    wanted: FailureFilter,
    ids: Ids = None,
    who: Who = None,
    *,
    everything: All = False,
) -> None:
    """Give failures up, until `restore`. Their records stay, counted as discarded. Exit code 1 when none was open."""
    wanted = _chosen(ids, wanted, everything=everything)
    with database() as engine:
        chunks = operator.discard(engine, wanted, who=who or operator_name(), reason=because)
        _finish(engine, wanted, chunks, "discarded")


@app.command()
@chooses_failures
def restore(
    wanted: FailureFilter,
    ids: Ids = None,
    because: Because = None,
    who: Who = None,
    *,
    everything: All = False,
) -> None:
    """Take back that failures were discarded: they are open again. Exit code 1 when none was discarded."""
    wanted = _chosen(ids, wanted, everything=everything)
    with database() as engine:
        chunks = operator.restore(engine, wanted, who=who or operator_name(), reason=because)
        _finish(engine, wanted, chunks, "restored", state="discarded")


def _chosen(ids: list[int] | None, wanted: FailureFilter, *, everything: bool) -> FailureFilter:
    if bool(ids) == everything:
        complain("name failures by their ids, or say --all, with filters or without")
        raise typer.Exit(WRONG)
    return wanted._replace(ids=tuple(ids)) if ids else wanted


app.command()(edit)
app.command()(accept)


def _finish(engine: Engine, wanted: FailureFilter, chunks: Iterator[int], done: str, *, state: State = "open") -> None:
    """Do it, and say what was done; and what was not, and why."""
    with engine.connect() as connection:
        found = list_failures(connection, wanted._replace(states=(state,)), limit=len(wanted.ids or ()))
        others = [each for each in wanted.ids or () if each not in {failure.id for failure in found}]
        skipped = list(passed_over(others, states_of(connection, others), state))
    total = 0
    with console.status("working") as status:
        for count in chunks:
            total += count
            status.update(f"{total:,} {done}")
    if not total:
        with engine.connect() as connection:
            why = "nothing was to be done" if skipped else none_left(count_by_state(connection, wanted), state)
        complain(why, "\n".join(skipped))
        raise typer.Exit(FOUND)
    console.print(f"{total:,} {done}.", highlight=False)
    for each in skipped:
        errors.print(each, highlight=False)
