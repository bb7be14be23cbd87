"""``pipeline rerate``: what calls cost under the tariff as it is now, and the corrections that follow."""

from __future__ import annotations

import contextlib
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.billing.billed_calls import Selection
from pipeline.billing.rerate import Preview, compare
from pipeline.billing.rerate import rerate as write
from pipeline.billing.rules.tariff_file import TariffFileError
from pipeline.billing.tariff_cache import TariffCache
from pipeline.cli.common import database, instant, read_file
from pipeline.cli.output import Table, as_text, complain, console, errors, operator_name, print_json
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.billing.bill import Tariffs
    from pipeline.billing.rules.difference import Comparison, Difference


def rerate(
    since: Annotated[
        str,
        typer.Option(help="Calls dialled at this time or later, such as 2026-11-01; in PIPELINE_TIMEZONE."),
    ],
    until: Annotated[str, typer.Option(help="Calls dialled before this time; 2026-12-01 ends with November.")],
    campaign: Annotated[str | None, typer.Option(help="Only this campaign.", show_default=False)] = None,
    source: Annotated[str | None, typer.Option(help="Only one dialler.", show_default=False)] = None,
    tariff_file: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: as if this file were loaded into the tariffs.", show_default=False),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Rate calls again by the tariff now in force: the difference a campaign, then the corrections.

    A call that comes to another amount gets a reversal and a new charge; any other is left alone. It may be stopped at
    any time and run again. A call that has no rate now keeps its charge.
    """
    settings = current_settings()
    zone = ZoneInfo(settings.pipeline_timezone)
    selection = Selection(
        instant(since, zone, "--since"), instant(until, zone, "--until"), campaign and campaign.strip(), source
    )
    if selection.since >= selection.until:
        raise typer.BadParameter("must be after --since", param_hint="'--until'")
    if tariff_file is not None and not dry_run:
        raise typer.BadParameter("only with --dry-run; load the file to rerate by it", param_hint="'--tariff-file'")
    tariffs: Tariffs = TariffCache(settings.pipeline_timezone)
    if tariff_file is not None:
        tariffs = _preview(tariff_file, tariffs)
    with database() as engine:
        with _bar("Comparing", shown=not as_json) as progress:
            comparison = compare(engine, selection, tariffs, progress=progress)
        if not as_json:
            _show(comparison)
        rerated = 0
        if comparison.changed and not dry_run:
            with _bar("Rerating", shown=not as_json) as progress:
                rerated = write(engine, selection, tariffs, who=operator_name(), progress=progress)
    if as_json:
        print_json(_as_dict(selection, comparison, rerated, dry_run=dry_run))
    else:
        _conclude(comparison, rerated, dry_run=dry_run)


def _preview(file: Path, tariffs: Tariffs) -> Preview:
    settings = current_settings()
    try:
        return Preview(
            tariffs,
            read_file(file),
            default_currency=settings.pipeline_currency,
            timezone=settings.pipeline_timezone,
        )
    except TariffFileError as error:
        complain(f"{file}: {error}", "`pipeline tariff load --dry-run` lists every mistake.")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _bar(what: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not (shown and errors.is_terminal)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _show(comparison: Comparison) -> None:
    if not comparison.differences:
        console.print("No charged or uncharged call was dialled in that time.", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("campaign", "calls", "change", "no rate", "charged", "by the tariff", "difference", ""):
        table.add_column(name, justify="left" if name in {"campaign", ""} else "right", no_wrap=name != "campaign")
    for (campaign, currency), each in sorted(comparison.differences.items()):
        table.add_row(campaign, *_cells(each), currency or "not charged")
    for currency in sorted({currency for _, currency in comparison.differences if currency}):
        difference = sum(each.difference for (_, of), each in comparison.differences.items() if of == currency)
        table.add_row(as_text("all", "bold"), *[""] * 5, f"{difference:+,f}", currency)
    console.print(table, highlight=False)


def _cells(each: Difference) -> list[str]:
    return [
        f"{each.calls:,}",
        f"{each.changed:,}",
        f"{each.unratable:,}" if each.unratable else "",
        f"{each.before:,f}",
        f"{each.after:,f}",
        f"{each.difference:+,f}" if each.difference else "0",
    ]


def _conclude(comparison: Comparison, rerated: int, *, dry_run: bool) -> None:
    if dry_run:
        console.print(f"Calls that would be rerated: {comparison.changed:,}. Nothing was written.", highlight=False)
    else:
        console.print(f"Calls rerated: {rerated:,}.", highlight=False)
    if comparison.unratable:
        complain(f"calls that cannot be rated now, and keep what they have: {comparison.unratable:,}. The first:")
        for reason in comparison.reasons:
            errors.print(as_text(f"  {reason}"))


def _as_dict(selection: Selection, comparison: Comparison, rerated: int, *, dry_run: bool) -> dict[str, Any]:
    return {
        **selection._asdict(),
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
