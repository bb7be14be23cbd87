"""``pipeline ranges``: the months that the tables of records are cut into: listed, moved to, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipeline.cli import progress as bars
from pipeline.cli.archive_store import archive_if_on
from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, complain, console, operator_name, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.database.engine import reading
from pipeline.database.ranges import all_ranges, extent_of, tables_to_move
from pipeline.ranges.due import due_ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.balance.sheet import BalanceJson
    from pipeline.database.ranges import Range

app = typer.Typer(help="The months that the tables of records are cut into.", no_args_is_help=True)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """List the ranges: how much is in each, when it was received, of which nothing may be kept, which were dropped."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, reading(engine) as connection:
        left = tables_to_move(connection)
        ranges = all_ranges(connection)
        found = [(each, extent_of(connection, each)) for each in ranges]
        due = {each.range.name: each.since for each in due_ranges(connection, ranges)}
    table = Table("range", "records, about", "bytes", "first received", "last received", "due since", "dropped")
    for each, extent in found:
        instants = (extent.first_received, extent.last_received, due.get(each.name))
        shown = ("" if at is None else times.show(at, seconds=False) for at in instants)
        table.add_row(each.name, extent.rows, extent.size_bytes, *shown, _dropped(each))
    told = [each._asdict() | extent._asdict() | {"due_since": due.get(each.name)} for each, extent in found]
    print_rows(table, format_, told)
    if format_ is Format.TABLE:
        if left:
            remark(f"Not in ranges yet, {counted(len(left), 'table')}: `pipeline ranges move`.")
        for each, _ in found:
            if each.trouble is not None:
                complain(f"the drop of {each.name} was stopped: {each.trouble}")


def _dropped(one: Range) -> str:
    if one.dropped_at is not None:
        return f"{one.dropped_at:%Y-%m-%d}{', brought back' if one.is_there else ''}"
    return "" if one.drop_began_at is None else "underway"


@app.command()
def move(
    *,
    wait: Annotated[
        int, typer.Option("--wait", help="Seconds to go on asking for a table that somebody holds.", min=1)
    ] = 600,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Make ranges of tables of a version that had none, while everything runs. Needed once, and never in a hurry.

    It can be ended at any moment, and goes on where it was when it is run again.
    """
    from pipeline.ranges.move import MoveError  # noqa: PLC0415 - no other command needs them
    from pipeline.ranges.move import move as move_tables  # noqa: PLC0415

    with database() as engine, bars.of_things("Moving", "", shown=not as_json) as progress:
        try:
            moved = move_tables(
                engine,
                who=who or operator_name(),
                patience_seconds=wait,
                progress=lambda _what, done, of: progress(done, of),
            )
        except MoveError as error:
            complain(str(error))
            raise typer.Exit(FOUND) from None
    if as_json:
        print_json(moved._asdict())
    elif not moved.tables:
        remark("Every table is in ranges already.")
    else:
        remark(f"{counted(len(moved.tables), 'table')} became ranges; {counted(moved.keys, 'key')} of calls entered.")


@app.command()
def drop(
    name: Annotated[
        str | None,
        typer.Argument(metavar="RANGE", help="As `pipeline ranges list` has it, such as 2024-10.", show_default=False),
    ] = None,
    because: Annotated[str | None, typer.Option("--because", help="Why, for the record.", show_default=False)] = None,
    hook: Annotated[
        str | None,
        typer.Option(
            "--hook",
            metavar="COMMAND",
            help="Run this when its tables stand alone, before they go; they stay unless it ends with 0.",
        ),
    ] = None,
    *,
    due: Annotated[
        bool, typer.Option("--due", help="All of which nothing may be kept any more, the oldest first; for a timer.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what stands against it.")] = False,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Drop a range whose calls are archived: its tables go, its sums stay in the balance.

    Exit code 1 when something stands against it; each reason is said, and nothing is dropped.
    """
    if not dry_run and not because:
        raise typer.BadParameter("say why, for the record", param_hint="'--because'")
    if due is (name is not None):
        raise typer.BadParameter("name a range, or say --due for all that are", param_hint="RANGE")
    from pipeline.ranges.drop import DropError  # noqa: PLC0415 - what it reads with loads slowly

    outcomes: list[Outcome] = []
    trouble = None
    with database() as engine, console.status("", spinner="dots") as status:
        try:
            for each in [name] if name is not None else _due(engine):
                outcomes.append(_drop_one(engine, each, None if dry_run else because, hook, who, status.update))
                if outcomes[-1].against:
                    break  # those behind it wait for it
        except DropError as error:
            trouble = str(error)
    # What was dropped is said, whatever became of the one behind it.
    if outcomes or trouble is None:
        _show(outcomes, as_list=name is None, dry_run=dry_run, as_json=as_json)
    if trouble is not None:
        complain(trouble)
    if trouble is not None or any(each.against for each in outcomes):
        raise typer.Exit(FOUND)


class Outcome(NamedTuple):
    """What came of one range, as ``--json`` has it."""

    range: str
    dropped: bool
    against: list[str]
    sums: BalanceJson | None


def _due(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [each.range.name for each in due_ranges(connection, all_ranges(connection))]


def _drop_one(
    engine: Engine, name: str, because: str | None, hook: str | None, who: str | None, progress: Callable[[str], None]
) -> Outcome:
    """Look at one, and drop it where nothing stands against it; without ``because`` it is only looked at."""
    from pipeline.ranges.drop import drop as drop_range  # noqa: PLC0415 - what it reads with loads slowly
    from pipeline.ranges.drop import look_at  # noqa: PLC0415

    looked = look_at(engine, archive_if_on(), name, progress=progress)
    if because and not looked.reasons:
        drop_range(engine, looked, who=who or operator_name(), because=because, hook=hook, progress=progress)
    sums = None if looked.sheet is None else looked.sheet.as_dict()
    return Outcome(looked.range.name, bool(because and not looked.reasons), looked.reasons, sums)


def _show(outcomes: list[Outcome], *, as_list: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        told = [each._asdict() for each in outcomes]
        print_json(told if as_list else told[0])
        return
    if not outcomes:
        remark("No range is due: of each something may be kept yet, see `pipeline keeping show`.")
    for outcome in outcomes:
        _say(outcome, dry_run=dry_run)


def _say(outcome: Outcome, *, dry_run: bool) -> None:
    for reason in outcome.against:
        complain(reason)
    if outcome.against:
        remark(f"Range {outcome.range} stays: nothing of it was dropped.")
    elif dry_run:
        remark(f"Nothing was changed. Nothing stands against dropping {outcome.range}.")
    else:
        console.print(as_text(f"Range {outcome.range} is dropped.", "green"))
