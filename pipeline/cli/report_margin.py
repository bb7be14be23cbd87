"""``pipeline report margin``: what clients are charged, what the provider charges, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.batches.completeness import complete_through, only
from pipeline.billing.margin import MarginBy, margin_by
from pipeline.billing.rules.margin import totals
from pipeline.billing.rules.months import month_in
from pipeline.cli.calls_archived import say_missing
from pipeline.cli.common import AsJson, FormatOption, Source, chosen, clock, database
from pipeline.cli.output import as_text, console, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.errors import DataError
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.billing.margin import MonthsMargin
    from pipeline.billing.rules.margin import Margin


def margin(
    month: Annotated[str, typer.Option(help="The month the calls were dialled in, such as 2026-11.")],
    by: Annotated[MarginBy, typer.Option(help="What a line stands for.")] = MarginBy.CAMPAIGN,
    format_: FormatOption = Format.TABLE,
    source: Source = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what the calls of a month are charged, what the provider charges for them, and what that leaves.

    Never across currencies. Month and days are those of PIPELINE_TIMEZONE.
    """
    format_ = chosen(format_, as_json=as_json)
    try:
        of = month_in(month, current_settings().pipeline_timezone)
    except DataError as error:
        raise typer.BadParameter(error.reason, param_hint="'--month'") from None
    with database() as engine, engine.connect() as connection:
        through = complete_through(connection, sources=only(source))
        say_missing(connection, of.since, of.until, source)
        found = margin_by(connection, of, by, source=source)
    if format_ is Format.CSV:
        print_csv(csv_lines([(by.value, *_COLUMNS), *found.lines]))
    elif format_ is Format.JSON:
        print_json(
            {
                "month": month.strip(),
                "source": source,
                "margin": [_as_dict(line, by.value) for line in found.lines],
                "totals": [_as_dict(line, None) for line in totals(found.lines)],
                "not_charged": [each._asdict() for each in found.not_charged],
                "not_of_a_provider": found.not_of_a_provider,
                "complete_through": through,
            }
        )
    else:
        _show(found, by)
        remark(f"Complete through {clock().show(through)}.")


_COLUMNS = ("calls", "client", "provider", "margin", "currency", "no_provider", "no_client", "other_currency")
_NAMELESS = {MarginBy.PREFIX: "(default rate)", MarginBy.DIAL_NUMBER: "(none)"}


def _as_dict(line: Margin, group: str | None) -> dict[str, object]:
    named = {} if group is None else {group: line.group}
    return named | dict(zip(_COLUMNS, line[1:], strict=True))


def _show(found: MonthsMargin, by: MarginBy) -> None:
    if found.lines:
        table = Table(*(name.replace("_", " ") for name in (by.value, *_COLUMNS)))
        for line in found.lines:
            table.add_row(line.group or _NAMELESS.get(by, ""), *line[1:])
        for total in totals(found.lines):
            table.add_row(as_text("all", "bold"), *total[1:])
        console.print(table)
    else:
        remark("No call of that month is charged on either side.")
    for reason, calls in found.not_charged:
        remark(f"Not charged by the provider, {counted(calls, 'call')}: {reason}.")
    if found.not_of_a_provider:
        said = counted(found.not_of_a_provider, "call")
        remark(f"Not on the provider's side, {said}: no provider's tariff was assigned (`pipeline tariff assign`).")
