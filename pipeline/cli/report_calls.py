"""``pipeline report calls``: attempts, answers and talk by day, campaign, agent or disposition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.batches.completeness import complete_through, only
from pipeline.billing.rules.months import days_of
from pipeline.cli.calls_archived import say_missing
from pipeline.cli.common import AsJson, Campaign, FormatOption, Source, chosen, clock, database
from pipeline.cli.dialled import Direction, Month, Since, Until, dialled_in
from pipeline.cli.output import as_text, console, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table
from pipeline.lookup.calls_report import CallsBy, calls_by, total
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from decimal import Decimal

    from pipeline.lookup.calls_report import CallsEntry

_FIGURES: Final = ("attempts", "answered", "answer_rate", "talk_seconds", "talk_hours")
_NAMELESS: Final = {CallsBy.AGENT: "(none)", CallsBy.DISPOSITION: "(not classified yet)"}


def calls(
    by: Annotated[CallsBy, typer.Option(help="What a line stands for.")] = CallsBy.DAY,
    month: Month = None,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    direction: Direction = None,
    format_: FormatOption = Format.TABLE,
    *,
    as_json: AsJson = False,
) -> None:
    """Count the calls dialled in a month or a window: attempts, answers and talk. Days are those of PIPELINE_TIMEZONE.

    Every call the dialler reported is an attempt, however it ended; an answered one is one that an agent talked in.
    """
    format_ = chosen(format_, as_json=as_json)
    timezone = current_settings().pipeline_timezone
    wanted = dialled_in(month, since, until, timezone)._replace(campaign=campaign, source=source)
    days = days_of(wanted.since, wanted.until, timezone)
    with database() as engine, engine.connect() as connection:
        through = complete_through(connection, sources=only(source))
        say_missing(connection, wanted.since, wanted.until, source)
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
