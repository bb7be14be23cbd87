"""``pipeline ranges``: the months that the tables of records are cut into: listed, moved to, dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import progress as bars
from pipeline.cli.archive_store import archive_if_on
from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, complain, console, operator_name, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.database.engine import reading
from pipeline.database.ranges import all_ranges, extent_of, tables_to_move

if TYPE_CHECKING:
    from pipeline.database.ranges import Range
    from pipeline.ranges.drop import Looked

app = typer.Typer(help="The months that the tables of records are cut into.", no_args_is_help=True)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """List the ranges: how much is in each, from when to when it was received, and which were dropped."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, reading(engine) as connection:
        left = tables_to_move(connection)
        found = [(each, extent_of(connection, each)) for each in all_ranges(connection)]
    table = Table("range", "records, about", "bytes", "first received", "last received", "dropped")
    for each, extent in found:
        received = (
            "" if at is None else times.show(at, seconds=False) for at in (extent.first_received, extent.last_received)
        )
        table.add_row(each.name, extent.rows, extent.size_bytes, *received, _dropped(each))
    print_rows(table, format_, [each._asdict() | extent._asdict() for each, extent in found])
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
    name: Annotated[str, typer.Argument(metavar="RANGE", help="As `pipeline ranges list` has it, such as 2024-10.")],
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what stands against it.")] = False,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Drop a range whose calls are archived: its tables go, its sums stay in the balance.

    Exit code 1 when something stands against it; each reason is said, and nothing is dropped.
    """
    if not dry_run and not because:
        raise typer.BadParameter("say why, for the record", param_hint="'--because'")
    from pipeline.ranges.drop import DropError, look_at  # noqa: PLC0415 - what it reads with loads slowly
    from pipeline.ranges.drop import drop as drop_range  # noqa: PLC0415

    with database() as engine, console.status("", spinner="dots") as status:
        try:
            looked = look_at(engine, archive_if_on(), name, progress=status.update)
            if not dry_run and because and not looked.reasons:
                drop_range(
                    engine, looked, who=who or operator_name(), because=because, hook=hook, progress=status.update
                )
        except DropError as error:
            complain(str(error))
            raise typer.Exit(FOUND) from None
    _show(looked, dry_run=dry_run, as_json=as_json)
    if looked.reasons:
        raise typer.Exit(FOUND)


def _show(looked: Looked, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        sums = None if looked.sheet is None else looked.sheet.as_dict()
        dropped = not (dry_run or looked.reasons)
        print_json({"range": looked.range.name, "dropped": dropped, "against": looked.reasons, "sums": sums})
        return
    for reason in looked.reasons:
        complain(reason)
    if looked.reasons:
        remark(f"Range {looked.range.name} stays: nothing was dropped.")
    elif dry_run:
        remark(f"Nothing was changed. Nothing stands against dropping {looked.range.name}.")
    else:
        console.print(as_text(f"Range {looked.range.name} is dropped.", "green"))
