"""``pipeline quote``: what a call would cost, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli.output import console, print_json
from pipeline.cli.tariffs import database
from pipeline.domain.disposition import Disposition
from pipeline.settings import current_settings
from pipeline.steps import tariffs

_LONGEST_CALL_SECONDS = 2_147_483_647  # what the ledger's column holds


def quote(
    number: Annotated[str, typer.Argument(help="The number called: E.164, or as dialled in PIPELINE_REGION.")],
    seconds: Annotated[int, typer.Argument(min=0, max=_LONGEST_CALL_SECONDS, help="How long was talked.")],
    at: Annotated[
        str | None,
        typer.Option(help="When it was dialled, such as 2026-07-01T08:00; in PIPELINE_TIMEZONE, or with an offset."),
    ] = None,
    disposition: Annotated[Disposition, typer.Option(help="How it ended.")] = Disposition.ANSWERED,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a call is charged by the tariff in force, line by line, as the ledger would have it."""
    settings = current_settings()
    dialled_at = _instant(at, ZoneInfo(settings.pipeline_timezone))
    with database() as engine, engine.connect() as connection:
        quoted = tariffs.quote(
            connection,
            number,
            seconds,
            at=dialled_at,
            region=settings.pipeline_region,
            disposition=disposition.value,
            timezone=settings.pipeline_timezone,
        )
    if as_json:
        print_json(quoted.as_dict())
    else:
        _show(quoted)


def _instant(text: str | None, zone: ZoneInfo) -> datetime:
    if text is None:
        return datetime.now(tz=UTC)
    try:
        at = datetime.fromisoformat(text)
        return (at if at.utcoffset() is not None else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"must be a date or a time such as 2026-07-01T08:00, got {text!r}", param_hint="'--at'"
        ) from None


def _show(quoted: tariffs.Quote) -> None:
    for step in quoted.steps:
        console.print(Text(step))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("billable seconds", str(quoted.billable_seconds))
    table.add_row("unrounded", f"{quoted.unrounded:f} {quoted.currency}")
    table.add_row("amount", f"{quoted.amount:f} {quoted.currency}")
    console.print(table)
