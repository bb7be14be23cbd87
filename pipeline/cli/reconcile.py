"""``pipeline reconcile``: what a provider charges against what we know, line by line and to the cent."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from pipeline.accounts import reconcile_rows as rows
from pipeline.accounts.reconcile import MOST_CASES, Result
from pipeline.accounts.reconcile import reconcile as compare
from pipeline.accounts.reconcile_export import export_lines
from pipeline.accounts.reconcile_files import NotReconcilableError
from pipeline.accounts.reconcile_report import as_dict, causes, class_lines, offset_said, sum_lines
from pipeline.accounts.rules.classes import DISPUTES, ItemClass
from pipeline.accounts.rules.offset import SEARCHED, AmbiguousOffsetError
from pipeline.billing.rules.months import month_in
from pipeline.cli import progress as bars
from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database, said
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, errors, operator_name, print_heading, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.errors import DataError
from pipeline.logs.rules.visible import visible_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.accounts.reconcile_rows import Run

app = typer.Typer(help="A provider's files against our calls.", no_args_is_help=True)

Provider = Annotated[str, typer.Option(help="The provider, as its tariff and files have it.")]
OneProvider = Annotated[str | None, typer.Option("--provider", help="Only one provider.", show_default=False)]
Month = Annotated[str, typer.Option(help="The month the calls were dialled in, such as 2026-11.")]
OneMonth = Annotated[str | None, typer.Option("--month", help="Only one month.", show_default=False)]
Zone = Annotated[
    str | None, typer.Option(help="The zone of the month; PIPELINE_TIMEZONE when left out.", show_default=False)
]
RunId = Annotated[int | None, typer.Argument(help="The run; the newest when left out.", show_default=False)]


@app.command()
def run(
    provider: Provider,
    month: Month,
    zone: Zone = None,
    offset: Annotated[
        int | None,
        typer.Option(
            min=-SEARCHED,
            max=SEARCHED,
            help="Seconds that the files' clock is ahead of ours; found when left out.",
            show_default=False,
        ),
    ] = None,
    who: Who = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Compare a month of a provider: each line of its files and each of our calls gets exactly one class.

    Takes the place of earlier runs of that month, unless one is locked. Exit code 1 when the classes do not add up to
    both inputs, or the clock of the files cannot be told.
    """
    since, until, of_zone = _period(month, zone)
    wanted = rows.Wanted(provider.strip(), since, until, of_zone, offset)
    try:
        with (
            database() as engine,
            bars.of_things("Reconciling", "lines and calls", shown=not as_json) as progress,
        ):
            result = compare(engine, wanted, who=who or operator_name(), progress=progress)
    except (NotReconcilableError, rows.LockedRunError) as error:
        complain(str(error))
        raise typer.Exit(FOUND) from None
    except AmbiguousOffsetError as error:
        complain(str(error), "Look at a line that you know; then say how far its time is ahead with --offset SECONDS.")
        raise typer.Exit(FOUND) from None
    _show(result.run, Format.JSON if as_json else Format.TABLE)
    if not as_json:
        _remark(result, datetime.now(tz=UTC))
    _end(result.run)


@app.command("list")
def list_(
    provider: OneProvider = None,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """List the runs, the newest first."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        found = rows.runs(connection, provider=provider)
    table = Table("run", "provider", "from", "until", "state", "lines", "calls", "offset", "made", "by", "locked")
    for each in found:
        period = (times.show(each.since, seconds=False), times.show(each.until, seconds=False))
        figures = (each.inputs["lines"], each.inputs["calls"], offset_said(each).partition(": ")[0])
        made = (times.show(each.created_at, seconds=False), each.created_by, each.locked_because)
        table.add_row(each.id, each.provider, *period, each.state, *figures, *made)
    print_rows(table, format_, [each._asdict() for each in found])


@app.command()
def report(
    run_id: RunId = None,
    provider: OneProvider = None,
    month: OneMonth = None,
    zone: Zone = None,
    format_: FormatOption = Format.TABLE,
    *,
    as_json: AsJson = False,
) -> None:
    """Show a run: both sides by class, the offset of the files' clock, and the commonest causes.

    Run again on the same files and calls, the same bytes come out. Exit code 1 when the run does not add up.
    """
    with database() as engine, engine.connect() as connection:
        found = _chosen(connection, run_id, provider, month, zone)
    _show(found, chosen(format_, as_json=as_json))
    _end(found)


@app.command()
def export(
    run_id: RunId = None,
    provider: OneProvider = None,
    month: OneMonth = None,
    zone: Zone = None,
    class_: Annotated[
        list[ItemClass] | None,
        typer.Option("--class", help="Only items of this class, once or more; all that can be disputed when left out."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; standard output when left out.", show_default=False)
    ] = None,
) -> None:
    """Write what is disputed as CSV, an item a line with our evidence: call, times, seconds, amounts, recording.

    Times are those of the zone that the run was made in.
    """
    classes = [each.value for each in class_ or DISPUTES]
    with database() as engine, engine.connect() as connection:
        found = _chosen(connection, run_id, provider, month, zone)
        lines = export_lines(connection, found.id, classes, ZoneInfo(found.zone))
        written = _to_file(lines, output) if output is not None else _to_standard_output(lines)
    errors.print(f"{counted(written - 1, 'item')} of run {found.id}.", highlight=False)


@app.command()
def lock(
    run_id: Annotated[int, typer.Argument(help="The run.")],
    because: Annotated[str, typer.Option(help="Why, for the record.")],
    who: Who = None,
) -> None:
    """Freeze a run that was agreed upon: no other takes its place, and its files cannot be withdrawn.

    Nothing unlocks it: a correction belongs in the next month.
    """
    reason = said(because)
    try:
        with database() as engine, engine.begin() as connection:
            locked = rows.lock_run(connection, run_id, who=who or operator_name(), because=reason)
    except rows.LockedRunError as error:
        complain(str(error))
        raise typer.Exit(FOUND) from None
    console.print(f"Run {locked.id} of {locked.provider} is locked.", highlight=False)


def _period(month: str, zone: str | None) -> tuple[datetime, datetime, str]:
    of_zone = zone or current_settings().pipeline_timezone
    try:
        ZoneInfo(of_zone)
    except (ValueError, KeyError, OSError):
        raise typer.BadParameter(
            f"must be a zone such as Africa/Johannesburg, got {zone!r}", param_hint="'--zone'"
        ) from None
    try:
        days = month_in(month, of_zone)
    except DataError as error:
        raise typer.BadParameter(error.reason, param_hint="'--month'") from None
    return days.since, days.until, of_zone


def _chosen(
    connection: Connection, run_id: int | None, provider: str | None, month: str | None, zone: str | None
) -> Run:
    """The run asked for: by its number, or the newest one that is narrowed to."""
    if run_id is not None:
        if provider is not None or month is not None:
            raise typer.BadParameter("say RUN, or --provider and --month", param_hint="'RUN'")
        return rows.run_by_id(connection, run_id)
    since, until = (None, None) if month is None else _period(month, zone)[:2]
    found = rows.runs(connection, provider=provider, since=since, until=until)
    if not found:
        raise rows.NoSuchRunError("there is no such run: `pipeline reconcile run` makes one")
    return found[0]


def _show(found: Run, format_: Format) -> None:
    table = Table(
        "class", "lines", "calls", "seconds_there", "seconds_here", "money_there", "money_here", "currency", "share"
    )
    for line in [*class_lines(found), *sum_lines(found)]:
        table.add_row(*line[:8], f"{line.share:.2%}" if line.lines is not None else "")
    print_rows(table, format_, as_dict(found))
    if format_ is not Format.TABLE:
        return
    zone = ZoneInfo(found.zone)
    first, last = found.since.astimezone(zone), found.until.astimezone(zone)
    remark(f"{found.provider}, {first:%Y-%m-%d %H:%M} until before {last:%Y-%m-%d %H:%M} {found.zone}, {found.state}")
    remark(f"The files' clock against ours: {offset_said(found)}.")
    for each in found.inputs["files"]:
        unread = f", {each['bad_lines']:,} of them unread" if each["bad_lines"] else ""
        remark(f"{each['name']}: {counted(each['lines'], 'line')}{unread}, SHA-256 {each['sha256']}")
    if listed := causes(found):
        print_heading("Causes")
        table = Table("class", "items", "cause")
        for name, cause, items in listed:
            table.add_row(name, items, cause)
        console.print(table)


def _remark(result: Result, now: datetime) -> None:
    if result.run.until > now:
        remark("The month is not over: calls that are still to come are not in it.")
    if result.replaced:
        remark(f"It takes the place of {counted(result.replaced, 'earlier run')}.")
    if result.cases:
        remark(f"{counted(result.cases, 'missing call')} found: `pipeline completeness lines` names them.")
    if result.run.totals[ItemClass.MISSING_HERE]["lines"] > MOST_CASES:
        remark(f"Only the first {MOST_CASES:,} of those missing here are named there.")


def _end(found: Run) -> None:
    if found.state == "failed":
        complain(f"run {found.id} does not add up", "\n".join(found.problems))
        raise typer.Exit(FOUND)


def _to_standard_output(lines: Iterator[str]) -> int:
    shown = sys.stdout.isatty()
    return sum(bool(sys.stdout.write(visible_lines(line) if shown else line)) for line in lines)


def _to_file(lines: Iterator[str], output: Path) -> int:
    """Whole or not at all: what is cut off would pass for all there is.

    A pipe or a device is written into: another file in its place would take it from everybody.
    """
    partial = output.with_name(f".{output.name}.partial")
    try:
        if output.exists() and not output.is_file():
            with output.open("w", encoding="utf-8", newline="") as file:
                return sum(bool(file.write(line)) for line in lines)
        with partial.open("w", encoding="utf-8", newline="") as file:
            written = sum(bool(file.write(line)) for line in lines)
        partial.replace(output)
    except OSError as error:
        complain(f"cannot write {output}: {error.strerror}")
        raise typer.Exit(WRONG) from None
    finally:
        partial.unlink(missing_ok=True)
    return written
