"""``pipeline report traffic``: how calls were answered, abandoned and held, by hour, day, campaign, agent or number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.batches.completeness import complete_through, only
from pipeline.cli.calls_archived import say_missing
from pipeline.cli.common import AsJson, Campaign, FormatOption, Source, chosen, clock, database
from pipeline.cli.dialled import Direction, Month, Since, Until, check_length, dialled_in
from pipeline.cli.output import as_text, console, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table, percent
from pipeline.lookup.rules.csv_cells import csv_lines
from pipeline.lookup.rules.traffic import NO_TRAFFIC, Kind, percentile, total
from pipeline.lookup.traffic_report import TrafficBy, traffic_by
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from decimal import Decimal

    from pipeline.lookup.rules.traffic import Traffic
    from pipeline.lookup.traffic_report import TrafficEntry

_NAMELESS: Final = {TrafficBy.AGENT: "(none)", TrafficBy.DIAL_NUMBER: "(none)"}
_HEADINGS: Final = (
    *("attempts", "answered", "answer rate", "ACD", "abandoned from", "to", "voicemail", "hold p50", "hold p95"),
)


def traffic(
    by: Annotated[TrafficBy, typer.Option(help="What a line stands for.")] = TrafficBy.DAY,
    month: Month = None,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    direction: Direction = None,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Annotated[bool, typer.Option("--utc", help="Hours, days and month in UTC, not in PIPELINE_TIMEZONE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the traffic of a month or a window: answer rate, talk, voicemail, waits, and how many were abandoned.

    What part was abandoned lies between two bounds, for not all is known of every call. Seconds are the dialler's.
    """
    format_ = chosen(format_, as_json=as_json)
    timezone = "UTC" if utc else current_settings().pipeline_timezone
    wanted = dialled_in(month, since, until, timezone)._replace(campaign=campaign, source=source)
    check_length(wanted)
    with database() as engine, engine.connect() as connection:
        through = complete_through(connection, sources=only(source))
        say_missing(connection, wanted.since, wanted.until, source)
        entries = traffic_by(connection, wanted, by, timezone, direction=direction)
    if format_ is Format.JSON:
        asked = {**wanted._asdict(), "direction": direction, "timezone": timezone}
        listed = [{by.value: each.group, **_figures(each.traffic)} for each in entries]
        whole = _figures(total(each.traffic for each in entries))
        print_json({**asked, "traffic": listed, "total": whole, "complete_through": through})
    elif format_ is Format.CSV:
        names = (by.value, *_figures(NO_TRAFFIC))
        print_csv(csv_lines([names, *((each.group, *_figures(each.traffic).values()) for each in entries)]))
    else:
        _show(entries, by)
        remark(f"Complete through {clock(utc=utc).show(through)}.")


def _figures(traffic: Traffic) -> dict[str, int | Decimal | None]:
    """All there is to say, what the rates are made of included."""
    many = traffic.calls
    return {
        "attempts": traffic.attempts,
        "answered": many.get(Kind.ANSWERED, 0),
        "answer_rate": traffic.answer_rate,
        "talk_seconds": traffic.talk_seconds,
        "acd_seconds": traffic.acd_seconds,
        "abandoned": many.get(Kind.ABANDONED, 0),
        "perhaps_abandoned": many.get(Kind.PERHAPS_ABANDONED, 0),
        "undecided": many.get(Kind.UNDECIDED, 0),
        "abandon_low": traffic.abandon_low,
        "abandon_high": traffic.abandon_high,
        "voicemail": many.get(Kind.VOICEMAIL, 0),
        "voicemail_share": traffic.voicemail_share,
        "held": sum(traffic.holds.values()),
        "hold_p50": percentile(traffic.holds, 50),
        "hold_p95": percentile(traffic.holds, 95),
    }


def _show(entries: list[TrafficEntry], by: TrafficBy) -> None:
    if not entries:
        remark("No call was dialled then.")
        return
    table = Table(by.value.replace("_", " "), *_HEADINGS)
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in entries:
        table.add_row(entry.group or _NAMELESS.get(by, ""), *_cells(entry.traffic))
    whole = total(each.traffic for each in entries)
    table.add_row(as_text("all", "bold"), *_cells(whole))
    console.print(table)
    if whole.abandon_low != whole.abandon_high:
        remark("What part of the calls picked up was abandoned lies between both: not all is known of every call.")


def _cells(traffic: Traffic) -> list[str | int]:
    acd = traffic.acd_seconds
    return [
        traffic.attempts,
        traffic.calls.get(Kind.ANSWERED, 0),
        percent(traffic.answer_rate),
        "-" if acd is None else f"{acd} s",
        percent(traffic.abandon_low),
        percent(traffic.abandon_high),
        percent(traffic.voicemail_share),
        *(f"{held} s" if (held := percentile(traffic.holds, most)) is not None else "-" for most in (50, 95)),
    ]
