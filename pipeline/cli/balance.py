"""``pipeline balance``: proof that nothing is lost and nothing is charged twice."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer looks it up when it reads the options
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.balance.sheet import WindowBy, balance_sheet
from pipeline.cli.common import (
    AsJson,
    FormatOption,
    Source,
    Utc,
    check_source,
    check_window,
    chosen,
    clock,
    database,
    time_option,
)
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, complain, console, print_rows, remark
from pipeline.cli.tables import Format, Table

if TYPE_CHECKING:
    from pipeline.balance.sheet import Balance
    from pipeline.instants import Clock


def balance(
    since: Annotated[datetime | None, time_option("Batches of this time or later.")] = None,
    until: Annotated[datetime | None, time_option("Batches of before this time.")] = None,
    by: Annotated[
        WindowBy,
        typer.Option(help="Batches received in that time, or those with a call dialled in it; each is counted whole."),
    ] = WindowBy.RECEIVED,
    source: Source = None,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show where every record received is, and whether that adds up. Exit code 1 when it does not."""
    format_ = chosen(format_, as_json=as_json)
    check_window(since, until)
    with database() as engine:
        check_source(engine, source)
        with engine.connect() as connection:
            sheet = balance_sheet(connection, since=since, until=until, by=by, source=source)
    if format_ is Format.TABLE:
        show(sheet)
        if since is not None or until is not None:
            remark(_window(since, until, by, clock(utc=utc)))
    else:
        print_rows(_table(sheet), format_, sheet.as_dict())
    if not sheet.closes:
        raise typer.Exit(FOUND)


def show(sheet: Balance) -> None:
    """Print the sheet for a person."""
    console.print(_table(sheet))
    if sheet.subscribers:
        console.print(_subscribers(sheet))
    if sheet.dropped:
        console.print(_dropped(sheet))
    if sheet.closes:
        console.print(as_text("The balance closes.", "green"))
        return
    complain("the balance does not close")
    for violation in sheet.violations:
        ids = ", ".join(str(each) for each in violation.ids)
        remark(f"  {violation.rule}: {violation.count:,}{f' ({ids})' if ids else ''}")


def _table(sheet: Balance) -> Table:
    table = Table("place", "records", "talk seconds", "amount")
    for name in ("received", *sheet.PLACES):
        entry = getattr(sheet, name)
        table.add_row(name if name == "received" else f"  {name}", entry.records, entry.talk_seconds, None)
    for currency, amount in sorted(sheet.charged.items()):
        table.add_row(f"charged {currency}", None, None, amount)
    for disposition, entry in sorted(sheet.unbilled.items()):
        table.add_row(f"not billed: {disposition}", entry.records, entry.talk_seconds, None)
    if sheet.provider is not None:
        table.add_row("charged by the provider", sheet.provider.charged, None, None)
        for currency, amount in sorted(sheet.provider.amounts.items()):
            table.add_row(f"charged by the provider {currency}", None, None, amount)
        table.add_row("not charged by the provider", sheet.provider.uncharged, None, None)
        table.add_row("not on the provider's side", sheet.provider.not_on_it, None, None)
    return table


def _subscribers(sheet: Balance) -> Table:
    table = Table("subscriber", *("delivered", "waiting", "refused", "filtered", "missed", "fed"))
    for each in sheet.subscribers:
        table.add_row(each.name, each.delivered, each.waiting, each.refused, each.filtered, each.missed, each.all)
    return table


def _dropped(sheet: Balance) -> Table:
    table = Table("dropped range", "received", "processed", "talk seconds", "charged")
    for name, sums in sheet.dropped.items():
        charged = ", ".join(f"{amount} {currency}" for currency, amount in sums["charged"].items())
        processed = sums["processed"]
        table.add_row(name, sums["received"]["records"], processed["records"], processed["talk_seconds"], charged)
    return table


def _window(since: datetime | None, until: datetime | None, by: WindowBy, times: Clock) -> str:
    which = "received" if by is WindowBy.RECEIVED else "with a call dialled"
    begin = f" from {times.show(since)}" if since is not None else ""
    end = f" until before {times.show(until)}" if until is not None else ""
    return f"Batches {which}{begin}{end}."
