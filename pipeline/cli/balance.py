"""``pipeline balance``: proof that nothing is lost and nothing is charged twice."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer looks it up when it reads the options
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.balance.sheet import balance_sheet
from pipeline.cli.common import database
from pipeline.cli.output import INSTANTS, Table, as_text, aware, complain, console, print_json

if TYPE_CHECKING:
    from pipeline.balance.sheet import Balance


def balance(
    since: Annotated[
        datetime | None, typer.Option(help="Records received at this instant or later; UTC.", formats=INSTANTS)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Records received before this instant; UTC.", formats=INSTANTS)
    ] = None,
    source: Annotated[str | None, typer.Option(help="One dialler; all when left out.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show where every record received is, and whether that adds up. Exit code 1 when it does not."""
    with database() as engine, engine.connect() as connection:
        sheet = balance_sheet(connection, since=aware(since), until=aware(until), source=source)
    if as_json:
        print_json(sheet.as_dict())
    else:
        show(sheet)
    if not sheet.closes:
        raise typer.Exit(1)


def show(sheet: Balance) -> None:
    """Print the sheet for a person."""
    table = Table("", "records", "talk seconds", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ("received", *sheet.PLACES):
        entry = getattr(sheet, name)
        seconds = "" if entry.talk_seconds is None else f"{entry.talk_seconds:,}"
        table.add_row(name if name == "received" else f"  {name}", f"{entry.records:,}", seconds)
    for currency, amount in sorted(sheet.charged.items()):
        table.add_row(f"charged {currency}", f"{amount:,.2f}", "")
    for disposition, entry in sorted(sheet.unbilled.items()):
        table.add_row(f"not billed: {disposition}", f"{entry.records:,}", f"{entry.talk_seconds:,}")
    console.print(table)
    if sheet.closes:
        console.print(as_text("The balance closes.", "green"))
        return
    complain("the balance does not close")
    for violation in sheet.violations:
        ids = ", ".join(str(each) for each in violation.ids)
        console.print(f"  {violation.rule}: {violation.count} ({ids})", highlight=False)
