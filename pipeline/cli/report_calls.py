"""``pipeline report calls``: attempts, answers and talk by day, campaign, agent or disposition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from pipeline.batches.completeness import complete_through, only
from pipeline.billing.billed_calls import Selection
from pipeline.billing.rules.months import days_of, month_in
from pipeline.cli.common import (
    AsJson,
    Campaign,
    FormatOption,
    Source,
    check_window,
    chosen,
    clock,
    database,
    time_option,
)
from pipeline.cli.output import as_text, console, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table
from pipeline.errors import DataError
from pipeline.lookup.calls_report import CallsBy, calls_by, total
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from decimal import Decimal

    from pipeline.billing.rules.months import Days
    from pipeline.lookup.calls_report import CallsEntry

_FIGURES: Final = ("attempts", "answered", "answer_rate", "talk_seconds", "talk_hours")
_NAMELESS: Final = {CallsBy.AGENT: "(none)", CallsBy.DISPOSITION: "(not classified yet)"}


# long: most of it is its options
def calls(
    by: Annotated[CallsBy, typer.Option(help="What a line stands for.")] = CallsBy.DAY,
    month: Annotated[str | None, typer.Option(help="Calls dialled in a month, such as 2026-11.")] = None,
    since: Annotated[datetime | None, time_option("Calls dialled at this time or later.")] = None,
    until: Annotated[datetime | None, time_option("Calls dialled before this time; left out, until now.")] = None,
    source: Source = None,
    campaign: Campaign = None,
    direction: Annotated[
        Literal["outbound", "inbound"] | None, typer.Option(help="Calls of one direction; both when left out.")
    ] = None,
    format_: FormatOption = Format.TABLE,
    *,
    as_json: AsJson = False,
) -> None:
    """Count the calls dialled in a month or a window: attempts, answers and talk. Days are those of PIPELINE_TIMEZONE.

    Every call the dialler reported is an attempt, however it ended; an answered one is one that an agent talked in.
    """
    format_ = chosen(format_, as_json=as_json)
    wanted, days = _window(month, since, until)
    wanted = wanted._replace(campaign=campaign, source=source)
    with database() as engine, engine.connect() as connection:
        through = complete_through(connection, sources=only(source))
        entries = calls_by(connection, wanted, by, days, direction=direction)
    if format_ is Format.JSON:
        asked = {**wanted._asdict(), "direction": direction}
        listed = [{by.value: entry.group, **_figures(entry)} for entry in entries]
        print_json({**asked, "calls": listed, "total": _figures(total(entries)), "complete_through": through})
    elif format_ is Format.CSV:
        print_csv(csv_lines([(by.value, *_FIGURES), *((each.group, *_figures(each).values()) for each in entries)]))
    else:
        _show(entries, by)
        remark(f"Complete through {clock().show(through)}.")


def _window(month: str | None, since: datetime | None, until: datetime | None) -> tuple[Selection, Days]:
    """Which calls, and the days those were dialled on."""
    timezone = current_settings().pipeline_timezone
    if (month is None) is (since is None) or (month is not None and until is not None):
        raise typer.BadParameter("say --month, or --since with or without --until")
    if month is not None:
        try:
            days = month_in(month, timezone)
        except DataError as error:
            raise typer.BadParameter(error.reason, param_hint="'--month'") from None
        return Selection(days.since, days.until), days
    assert since is not None
    ends = datetime.now(tz=UTC) if until is None else until
    check_window(since, ends)
    return Selection(since, ends), days_of(since, ends, timezone)


def _figures(entry: CallsEntry) -> dict[str, int | str | None]:
    rate = entry.answer_rate
    return {
        "attempts": entry.attempts,
        "answered": entry.answered,
        "answer_rate": None if rate is None else f"{rate:f}",
        "talk_seconds": entry.talk_seconds,
        "talk_hours": f"{entry.talk_hours:f}",
    }


def _show(entries: list[CallsEntry], by: CallsBy) -> None:
    if not entries:
        remark("No call was dialled then.")
        return
    table = Table(by.value, *(figure.replace("_", " ") for figure in _FIGURES))
    table.columns[3].justify = "right"
    for entry in entries:
        table.add_row(entry.group or _NAMELESS.get(by, ""), *_cells(entry))
    table.add_row(as_text("all", "bold"), *_cells(total(entries)))
    console.print(table)


def _cells(entry: CallsEntry) -> list[str | int | Decimal]:
    rate = "" if entry.answer_rate is None else f"{entry.answer_rate * 100:.1f} %"
    return [entry.attempts, entry.answered, rate, entry.talk_seconds, entry.talk_hours]
