"""Traffic: how calls of a window were answered, abandoned and held, by hour, day, campaign, agent or dial number."""

from __future__ import annotations

from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import ARRAY, DateTime, func, literal, text

from pipeline.database.tables import calls, dispositions
from pipeline.lookup.dialled_calls import dialled
from pipeline.lookup.rules.hours import Spans, daily, hourly
from pipeline.lookup.rules.traffic import Cell, traffic_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from pipeline.billing.billed_calls import Selection
    from pipeline.lookup.rules.traffic import Traffic


class TrafficBy(StrEnum):
    """What the calls are counted by."""

    HOUR = "hour"
    DAY = "day"
    CAMPAIGN = "campaign"
    AGENT = "agent"
    DIAL_NUMBER = "dial_number"


class TrafficEntry(NamedTuple):
    """The calls of one group."""

    group: str
    """Empty for calls without an agent or a dial number."""
    traffic: Traffic


def traffic_by(
    connection: Connection, selection: Selection, by: TrafficBy, timezone: str, *, direction: str | None = None
) -> list[TrafficEntry]:
    """The traffic of the calls dialled in a window, in the order of time or of the groups' names.

    The server counts calls that ended alike and were held for as many seconds; rates, bounds and percentiles are made
    of these counts, of which there are few however many the calls. Hours and days without a call are not there.

    Args:
        connection: the database.
        selection: which calls.
        by: what an entry stands for.
        timezone: that of hours and days.
        direction: ``outbound`` or ``inbound``; None both.
    """
    spans = _spans(selection, by, timezone)
    of = calls.c
    counted = dialled(
        connection,
        selection,
        direction,
        _group(by, spans),
        dispositions.c.disposition,
        func.coalesce(dispositions.c.uncertain, False),
        of.hold_seconds,
        func.count(),
        func.sum(of.talk_seconds),
    )
    # By their places: the server does not see that an expression with a parameter is the one it selects.
    rows = connection.execute(counted.group_by(text("1, 2, 3, 4")).order_by(text("1")))
    name = str if spans is None else (lambda place: spans.names[place - 1])
    return [
        TrafficEntry(
            name(group),
            traffic_of(
                Cell(ended, uncertain, hold, int(many), int(talk)) for _, ended, uncertain, hold, many, talk in alike
            ),
        )
        for group, alike in groupby(rows, key=lambda row: row[0])
    ]


def _spans(selection: Selection, by: TrafficBy, timezone: str) -> Spans | None:
    if by is TrafficBy.HOUR:
        return hourly(selection.since, selection.until, timezone)
    return daily(selection.since, selection.until, timezone) if by is TrafficBy.DAY else None


def _group(by: TrafficBy, spans: Spans | None) -> ColumnElement[object]:
    if spans is not None:
        # By their place, as hours and days are this project's own, whatever zones the server knows.
        return func.width_bucket(calls.c.dialed_at, literal(list(spans.begins), ARRAY(DateTime(timezone=True))))
    if by is TrafficBy.CAMPAIGN:
        return calls.c.campaign_ref
    return func.coalesce(calls.c.extension if by is TrafficBy.AGENT else calls.c.dial_number, "")
