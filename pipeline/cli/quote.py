"""``pipeline quote``: what a call would cost, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.billing.quote import HypotheticalCall, Quote
from pipeline.billing.quote import quote as price
from pipeline.billing.rules.sides import Side
from pipeline.calls.rules.disposition import Disposition
from pipeline.calls.rules.fast_path import LONGEST_CALL_SECONDS
from pipeline.cli.common import AsJson, SideOption, Utc, clock, database, time_option
from pipeline.cli.output import as_text, console, print_json
from pipeline.cli.tables import Table
from pipeline.settings import current_settings


def quote(
    number: Annotated[str, typer.Argument(help="The number called: E.164, or as dialled in PIPELINE_REGION.")],
    seconds: Annotated[int, typer.Argument(min=0, max=LONGEST_CALL_SECONDS, help="How long was talked.")],
    at: Annotated[datetime | None, time_option("When it was dialled; left out, now.")] = None,
    disposition: Annotated[Disposition, typer.Option(help="How it ended.")] = Disposition.ANSWERED,
    campaign: Annotated[
        str | None, typer.Option(help="The campaign; left out, one without a tariff of its own.", show_default=False)
    ] = None,
    hold: Annotated[
        int | None, typer.Option(min=0, max=LONGEST_CALL_SECONDS, help="The hold time in seconds.", show_default=False)
    ] = None,
    side: SideOption = Side.CLIENT,
    answered: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LONGEST_CALL_SECONDS,
            help="With --side provider: the seconds from pick-up to the end, where they are known.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="With --side provider: the dialler.", show_default=False)] = "",
    dial_number: Annotated[
        str | None, typer.Option(help="With --side provider: the dialler's own number.", show_default=False)
    ] = None,
    *,
    inbound: Annotated[bool, typer.Option("--inbound", help="A call that came in, to this number.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show what a call is charged by the tariff in force, line by line, as the ledger would have it."""
    if side is Side.CLIENT and (answered is not None or source or dial_number is not None):
        raise typer.BadParameter("--answered, --source and --dial-number are for --side provider")
    settings = current_settings()
    call = HypotheticalCall(
        number=number,
        talk_seconds=seconds,
        dialed_at=at if at is not None else datetime.now(tz=UTC),
        disposition=disposition.value,
        campaign=campaign,
        hold_seconds=hold,
        direction="inbound" if inbound else "outbound",
        source=source,
        dial_number=dial_number,
        answered_seconds=answered,
    )
    with database() as engine, engine.connect() as connection:
        region, timezone = settings.pipeline_region, settings.pipeline_timezone
        quoted = price(connection, call, region=region, timezone=timezone, side=side)
    if as_json:
        print_json(quoted._asdict())
    else:
        _show(quoted, clock(utc=utc).show(call.dialed_at))


def _show(quoted: Quote, dialled: str) -> None:
    for step in quoted.steps:
        console.print(as_text(step))
    table = Table("", "", show_header=False)
    table.add_row("dialled", dialled)
    table.add_row("billable seconds", f"{quoted.billable_seconds:,}")
    table.add_row("unrounded", f"{quoted.unrounded:,f} {quoted.currency}")
    table.add_row("amount", f"{quoted.amount:,f} {quoted.currency}")
    console.print(table)
