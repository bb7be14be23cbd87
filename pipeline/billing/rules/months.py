"""Days of a zone as spans of instants, those of a month or of a window: a day is as long as the clocks make it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.errors import DataError, shown


class Days(NamedTuple):
    """Days in a row, such as those of a month, and when each of them begins."""

    days: tuple[date, ...]
    begins: tuple[datetime, ...]
    """In UTC: the first instant of each day, and last the first instant after them."""

    @property
    def since(self) -> datetime:
        """Their first instant."""
        return self.begins[0]

    @property
    def until(self) -> datetime:
        """The first instant after them."""
        return self.begins[-1]


def month_in(text: str, timezone: str) -> Days:
    """The days of a month such as 2026-11, in a zone.

    >>> month = month_in("2026-11", "Africa/Johannesburg")
    >>> month.since.isoformat(), month.until.isoformat(), len(month.days)
    ('2026-10-31T22:00:00+00:00', '2026-11-30T22:00:00+00:00', 30)

    Raises:
        DataError: the text is no month.
    """
    found = re.fullmatch(r"(\d{4})-(\d{2})", text.strip(), re.ASCII)
    if found is None or not 1 <= int(found[2]) <= 12 or not 1900 <= int(found[1]) <= 9000:
        raise DataError("month", f"must be a month such as 2026-11, got {shown(text)}")
    first = date(int(found[1]), int(found[2]), 1)
    after = (first + timedelta(days=31)).replace(day=1)
    return _days(first, after, ZoneInfo(timezone))


def days_of(since: datetime, until: datetime, timezone: str) -> Days:
    """The days of a zone that a window lies in, the first and the last of them whole.

    >>> since, until = datetime(2026, 11, 1, 21, tzinfo=UTC), datetime(2026, 11, 2, 22, tzinfo=UTC)
    >>> [str(day) for day in days_of(since, until, "Africa/Johannesburg").days]
    ['2026-11-01', '2026-11-02']
    >>> days_of(since, since, "Africa/Johannesburg").days
    ()

    Args:
        since: its first instant, aware.
        until: the first instant after it, aware.
        timezone: the zone.
    """
    zone = ZoneInfo(timezone)
    first = since.astimezone(zone).date()
    if until <= since:
        return _days(first, first, zone)
    return _days(first, (until - timedelta(microseconds=1)).astimezone(zone).date() + timedelta(days=1), zone)


def _days(first: date, after: date, zone: ZoneInfo) -> Days:
    days = tuple(first + timedelta(days=place) for place in range((after - first).days))
    return Days(days, tuple(_begin(day, zone) for day in (*days, after)))


def _begin(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day; where the clocks skip midnight, the instant they do."""
    return datetime.combine(day, time(0), zone).astimezone(UTC)
