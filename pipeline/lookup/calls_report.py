"""How many calls there were, how many were answered and how long was talked: by day, campaign, agent or disposition."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import ARRAY, DateTime, func, literal, text

from pipeline.calls.rules.disposition import Disposition
from pipeline.database.tables import calls, dispositions
from pipeline.lookup.dialled_calls import dialled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, Connection

    from pipeline.billing.billed_calls import Selection
    from pipeline.billing.rules.months import Days

HOUR_SECONDS: Final = 3_600


class CallsBy(StrEnum):
    """What the calls are counted by."""

    DAY = "day"
    CAMPAIGN = "campaign"
    AGENT = "agent"
    DISPOSITION = "disposition"


class CallsEntry(NamedTuple):
    """The calls of one group."""

    group: str
    """Empty for calls without an agent, or not classified yet."""
    attempts: int
    """Calls, however they ended."""
    answered: int
    talk_seconds: int
    """Of all of them."""

    @property
    def answer_rate(self) -> Decimal | None:
        """Which part of them was answered, from 0 to 1; None of none."""
        return round(Decimal(self.answered) / self.attempts, 4) if self.attempts else None

    @property
    def talk_hours(self) -> Decimal:
        """The same as hours."""
        return round(Decimal(self.talk_seconds) / HOUR_SECONDS, 2)


def calls_by(
    connection: Connection, selection: Selection, by: CallsBy, days: Days, *, direction: str | None = None
) -> list[CallsEntry]:
    """The calls dialled in a window, counted; in the order of the groups' names.

    Args:
        connection: the database.
        selection: which calls.
        by: what an entry stands for.
        days: the days the window lies in, in the zone they are counted in.
        direction: ``outbound`` or ``inbound``; None both.
    """
    # By the day's place: the days are this project's own, so that they begin when a tariff's do, whatever zones the
    # server knows.
    groups: dict[CallsBy, ColumnElement[object]] = {
        CallsBy.DAY: func.width_bucket(calls.c.dialed_at, literal(list(days.begins), ARRAY(DateTime(timezone=True)))),
        CallsBy.CAMPAIGN: calls.c.campaign_ref,
        CallsBy.AGENT: func.coalesce(calls.c.extension, ""),
        CallsBy.DISPOSITION: func.coalesce(dispositions.c.disposition, ""),
    }
    counted = dialled(
        connection,
        selection,
        direction,
        groups[by],
        func.count(),
        func.count().filter(dispositions.c.disposition == Disposition.ANSWERED.value),
        func.coalesce(func.sum(calls.c.talk_seconds), 0),
    )
    # By its place: the server does not see that an expression with a parameter is the one it selects.
    rows = connection.execute(counted.group_by(text("1")).order_by(text("1")))
    name = (lambda place: days.days[place - 1].isoformat()) if by is CallsBy.DAY else str
    return [
        CallsEntry(name(group), int(attempts), int(answered), int(talk)) for group, attempts, answered, talk in rows
    ]


def total(entries: Iterable[CallsEntry]) -> CallsEntry:
    """What the entries come to."""
    entries = list(entries)
    return CallsEntry(
        "",
        sum(each.attempts for each in entries),
        sum(each.answered for each in entries),
        sum(each.talk_seconds for each in entries),
    )
