"""``pipeline rerate``: what calls cost under the tariff as it is now, and the corrections that follow."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer reads the annotations
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import Preview, compare
from pipeline.billing.rerate import rerate as write
from pipeline.billing.rules.sides import Side
from pipeline.billing.rules.tariff_file import TariffFileError
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli import progress as bars
from pipeline.cli.common import (
    AsJson,
    Campaign,
    FormatOption,
    SideOption,
    Source,
    Utc,
    Who,
    chosen,
    clock,
    database,
    read_file,
    time_option,
)
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, complain, console, errors, operator_name, print_rows, remark
from pipeline.cli.tables import Format, Table
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from decimal import Decimal

    from pipeline.billing.bill import Tariffs
    from pipeline.billing.rules.difference import Comparison


def rerate(
    since: Annotated[datetime, time_option("Calls dialled at this time or later, such as 2026-11-01.")],
    until: Annotated[datetime, time_option("Calls dialled before this time; 2026-12-01 ends with November.")],
    campaign: Campaign = None,
    source: Source = None,
    side: SideOption = Side.CLIENT,
    tariff_file: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: as if this file were loaded into the tariffs.", show_default=False),
    ] = None,
    who: Who = None,
    format_: FormatOption = Format.TABLE,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and write nothing.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Rate calls again by the tariff now in force: the difference a campaign, then the corrections.

    A call that comes to another amount gets a reversal and a new charge; any other is left alone. It may be stopped at
    any time and run again. A call that has no rate now keeps its charge.

    With --side provider calls are charged, too, that a provider's tariff was assigned to only after they were billed,
    and answered seconds are taken over that came to be known later. Nothing of the client's side is touched.
    """
    settings = current_settings()
    format_ = chosen(format_, as_json=as_json)
    people = format_ is Format.TABLE
    selection = Selection(since, until, campaign and campaign.strip(), source)
    if selection.since >= selection.until:
        raise typer.BadParameter("must be after --since", param_hint="'--until'")
    if tariff_file is not None and not dry_run:
        raise typer.BadParameter("only with --dry-run; load the file to rerate by it", param_hint="'--tariff-file'")
    tariffs: Tariffs = TariffCache(settings.pipeline_timezone)
    if tariff_file is not None:
        tariffs = _preview(tariff_file, tariffs, side)
    with database() as engine:
        with bars.of_things("Comparing", "calls", shown=people) as progress:
            comparison = compare(engine, selection, tariffs, progress=progress, side=side)
        if people:
            times = clock(utc=utc)
            remark(f"Calls dialled from {times.show(since)} until before {times.show(until)}:")
            _show(comparison)
        rerated = 0
        if comparison.changed and not dry_run:
            with bars.of_things("Rerating", "calls", shown=people) as progress:
                by = who or operator_name()
                rerated = write(engine, selection, tariffs, who=by, progress=progress, side=side)
    if people:
        _conclude(comparison, rerated, dry_run=dry_run)
    else:
        print_rows(_table(comparison), format_, _as_dict(selection, side, comparison, rerated, dry_run=dry_run))


def _preview(file: Path, tariffs: Tariffs, side: Side) -> Preview:
    settings = current_settings()
    try:
        return Preview(
            tariffs,
            read_file(file),
            default_currency=settings.pipeline_currency,
            timezone=settings.pipeline_timezone,
            side=side,
        )
    except TariffFileError as error:
        complain(f"{file}: {error}", "`pipeline tariff load --dry-run` lists every mistake.")
        raise typer.Exit(FOUND) from None


def _show(comparison: Comparison) -> None:
    if not comparison.differences:
        remark("No charged or uncharged call was dialled in that time.")
        return
    table = _table(comparison)
    for currency in sorted({currency for _, currency in comparison.differences if currency}):
        difference = sum(each.difference for (_, of), each in comparison.differences.items() if of == currency)
        table.add_row(as_text("all", "bold"), *[None] * 5, _signed(difference), currency)
    console.print(table)


def _table(comparison: Comparison) -> Table:
    table = Table("campaign", "calls", "changed", "unrated", "before", "after", "difference", "currency")
    table.columns[6].justify = "right"
    for (campaign, currency), each in sorted(comparison.differences.items()):
        table.add_row(
            campaign, each.calls, each.changed, each.unratable, each.before, each.after, _signed(each.difference),
            currency or "(none)",
        )  # fmt: skip
    return table


def _signed(difference: Decimal | int) -> str:
    return f"{difference:+,f}" if difference else "0"


def _conclude(comparison: Comparison, rerated: int, *, dry_run: bool) -> None:
    if dry_run:
        console.print(f"Calls that would be rerated: {comparison.changed:,}. Nothing was written.", highlight=False)
    else:
        console.print(f"Calls rerated: {rerated:,}.", highlight=False)
    if comparison.unratable:
        complain(f"calls that cannot be rated now, and keep what they have: {comparison.unratable:,}. The first:")
        for reason in comparison.reasons:
            errors.print(as_text(f"  {reason}"))


def _as_dict(
    selection: Selection, side: Side, comparison: Comparison, rerated: int, *, dry_run: bool
) -> dict[str, Any]:
    return {
        **selection._asdict(),
        "side": side.value,
        "dry_run": dry_run,
        "rerated": rerated,
        "differences": [
            {
                "campaign": campaign,
                "currency": currency or None,
                "calls": each.calls,
                "changed": each.changed,
                "unratable": each.unratable,
                "before": each.before,
                "after": each.after,
                "difference": each.difference,
            }
            for (campaign, currency), each in sorted(comparison.differences.items())
        ],
        "reasons": comparison.reasons,
    }
