"""``pipeline report``: statements for accountants, and what calls came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.batches.completeness import complete_through, only
from pipeline.billing.rules.months import month_in
from pipeline.billing.rules.sides import Side
from pipeline.billing.statements import GroupBy, charges_by, not_charged, totals
from pipeline.cli.calls_archived import say_missing
from pipeline.cli.common import AsJson, FormatOption, SideOption, Source, chosen, clock, database
from pipeline.cli.output import as_text, console, print_csv, print_json, remark
from pipeline.cli.report_calls import calls
from pipeline.cli.report_fallen import fallen
from pipeline.cli.report_itemised import itemised_charges
from pipeline.cli.report_margin import margin
from pipeline.cli.report_traffic import traffic
from pipeline.cli.tables import Format, Table, counted
from pipeline.errors import DataError
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.billing.statements import Entry

app = typer.Typer(help="Statements and traffic.", no_args_is_help=True)
app.command("calls")(calls)
app.command("itemised")(itemised_charges)
app.command("margin")(margin)
app.command("traffic")(traffic)
app.command("fallen")(fallen)


@app.callback()
def _report() -> None:
    """Statements and traffic."""


@app.command("charges")
def charges(
    month: Annotated[str, typer.Option(help="The month the calls were dialled in, such as 2026-11.")],
    by: Annotated[GroupBy, typer.Option(help="What a line stands for.")] = GroupBy.CAMPAIGN,
    format_: FormatOption = Format.TABLE,
    source: Source = None,
    side: SideOption = Side.CLIENT,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what the calls of a month are charged, or with --side provider what providers charge for them.

    Month and days are those of PIPELINE_TIMEZONE.
    """
    format_ = chosen(format_, as_json=as_json)
    try:
        of = month_in(month, current_settings().pipeline_timezone)
    except DataError as error:
        raise typer.BadParameter(error.reason, param_hint="'--month'") from None
    with database() as engine, engine.connect() as connection:
        through = complete_through(connection, sources=only(source))
        say_missing(connection, of.since, of.until, source)
        entries = charges_by(connection, of, by, source=source, side=side)
        # On the provider's side what is not known has its reason there too, and nothing else waits for it.
        reasons = not_charged(connection, of, side, source=source) if side is Side.PROVIDER else []
    if format_ is Format.CSV:
        print_csv(csv_lines([(by.value, *_COLUMNS), *entries]))
    elif format_ is Format.JSON:
        print_json(
            {
                "month": month.strip(),
                "source": source,
                "side": side.value,
                "charges": [_as_dict(entry, by.value) for entry in entries],
                "totals": [_as_dict(entry, None) for entry in totals(entries)],
                "complete_through": through,
            }
            | ({"not_charged": [each._asdict() for each in reasons]} if side is Side.PROVIDER else {})
        )
    else:
        _show(entries, by)
        for reason, calls_ in reasons:
            remark(f"Not charged, {counted(calls_, 'call')}: {reason}.")
        remark(f"Complete through {clock().show(through)}.")


_COLUMNS = ("charges", "billable_seconds", "amount", "currency")


def _as_dict(entry: Entry, group: str | None) -> dict[str, object]:
    named = {} if group is None else {group: entry.group}
    # `calls` is what `charges` was called at first.
    return named | dict(zip(_COLUMNS, entry[1:], strict=True)) | {"calls": entry.calls}


def _show(entries: list[Entry], by: GroupBy) -> None:
    if not entries:
        remark("No call of that month is charged.")
        return
    table = Table(by.value, *(name.replace("_", " ") for name in _COLUMNS))
    for entry in entries:
        table.add_row(entry.group or _NAMELESS.get(by, ""), *entry[1:])
    for total in totals(entries):
        table.add_row(as_text("all", "bold"), *total[1:])
    console.print(table)


_NAMELESS = {GroupBy.PREFIX: "(default rate)", GroupBy.AGENT: "(none)"}
