"""``pipeline report fallen``: which numbers called from are answered far less than they were."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli.common import AsJson, FormatOption, Source, check_source, chosen, clock, database, time_option
from pipeline.cli.output import console, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table, percent
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.monitoring.fallen import fallen_numbers
from pipeline.monitoring.rules.fallen import FALL_PERCENT, FEWEST

if TYPE_CHECKING:
    from decimal import Decimal

    from pipeline.monitoring.rules.fallen import Answering

_FIRST: Final = datetime(1970, 2, 1, tzinfo=UTC)
"""Records count the seconds since 1970."""
_COLUMNS: Final = (
    *("dial_number", "attempts", "answered", "answer_rate"),
    *("attempts_before", "answered_before", "answer_rate_before", "fall"),
)


def fallen(
    until: Annotated[datetime | None, time_option("The end of the day to look at; left out, now.")] = None,
    source: Source = None,
    format_: FormatOption = Format.TABLE,
    *,
    as_json: AsJson = False,
) -> None:
    """Name the numbers called from whose answer rate of the last 24 hours fell against the 14 days before.

    It fell by 40 % of itself or more, with at least 200 attempts on both sides; a number of several diallers is one.
    """
    format_ = chosen(format_, as_json=as_json)
    ends = datetime.now(tz=UTC) if until is None else until
    if ends < _FIRST:
        raise typer.BadParameter("is before any call can have been dialled", param_hint="'--until'")
    with database() as engine:
        check_source(engine, source)
        with engine.connect() as connection:
            found = fallen_numbers(connection, ends, source=source)
    if format_ is Format.JSON:
        print_json({"until": ends, "source": source, "fallen": [_figures(each) for each in found]})
    elif format_ is Format.CSV:
        print_csv(csv_lines([_COLUMNS, *(_figures(each).values() for each in found)]))
    else:
        _show(found, clock().show(ends, seconds=False))


def _figures(number: Answering) -> dict[str, str | int | Decimal | None]:
    return {name: getattr(number, name) for name in _COLUMNS}


def _show(found: list[Answering], ends: str) -> None:
    if not found:
        remark(
            f"No number's answer rate fell by {FALL_PERCENT} % in the 24 hours until {ends}, of those with {FEWEST} "
            "attempts in them and before."
        )
        return
    table = Table(*(name.replace("_", " ") for name in _COLUMNS))
    for column in table.columns[1:]:
        column.justify = "right"
    for each in found:
        table.add_row(
            *(each.dial_number, each.attempts, each.answered, percent(each.answer_rate)),
            *(each.attempts_before, each.answered_before, percent(each.answer_rate_before), percent(each.fall)),
        )
    console.print(table)
    remark(f"Of outbound calls of the 24 hours until {ends}, against the 14 days before.")
