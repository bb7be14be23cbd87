"""``pipeline quote``: what a call would cost, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from pipeline.billing.quote import HypotheticalCall, Quote
from pipeline.billing.quote import quote as price
from pipeline.calls.rules.disposition import Disposition
from pipeline.cli.common import database, instant
from pipeline.cli.output import Table, as_text, console, print_json
from pipeline.settings import current_settings

_LONGEST_CALL_SECONDS = 1_000_000_000  # two of these are what the ledger's column holds


def quote(
    number: Annotated[str, typer.Argument(help="The number called: E.164, or as dialled in PIPELINE_REGION.")],
    seconds: Annotated[int, typer.Argument(min=0, max=_LONGEST_CALL_SECONDS, help="How long was talked.")],
    at: Annotated[
        str | None,
        typer.Option(help="When it was dialled, such as 2026-07-01T08:00; in PIPELINE_TIMEZONE, or with an offset."),
    ] = None,
    disposition: Annotated[Disposition, typer.Option(help="How it ended.")] = Disposition.ANSWERED,
    campaign: Annotated[
        str | None, typer.Option(help="The campaign; left out, one without a tariff of its own.", show_default=False)
    ] = None,
    hold: Annotated[
        int | None, typer.Option(min=0, max=_LONGEST_CALL_SECONDS, help="The hold time in seconds.", show_default=False)
    ] = None,
    *,
    inbound: Annotated[bool, typer.Option("--inbound", help="A call that came in, to this number.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a call is charged by the tariff in force, line by line, as the ledger would have it."""
    settings = current_settings()
    call = HypotheticalCall(
        number=number,
        talk_seconds=seconds,
        dialed_at=instant(at, ZoneInfo(settings.pipeline_timezone)) if at is not None else datetime.now(tz=UTC),
        disposition=disposition.value,
        campaign=campaign,
        hold_seconds=hold,
        direction="inbound" if inbound else "outbound",
    )
    with database() as engine, engine.connect() as connection:
        quoted = price(connection, call, region=settings.pipeline_region, timezone=settings.pipeline_timezone)
    if as_json:
        print_json(quoted._asdict())
    else:
        _show(quoted)


def _show(quoted: Quote) -> None:
    for step in quoted.steps:
        console.print(as_text(step))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("billable seconds", str(quoted.billable_seconds))
    table.add_row("unrounded", f"{quoted.unrounded:f} {quoted.currency}")
    table.add_row("amount", f"{quoted.amount:f} {quoted.currency}")
    console.print(table)
