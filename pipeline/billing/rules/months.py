"""Months and days of a zone as spans of instants: a day is as long as the clocks make it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeline.errors import DataError, shown


class Month(NamedTuple):
    """A month, and when each of its days begins."""

    days: tuple[date, ...]
    begins: tuple[datetime, ...]
    """In UTC: the first instant of each day, and last the first instant after the month."""

    @property
    def since(self) -> datetime:
        """Its first instant."""
        return self.begins[0]

    @property
    def until(self) -> datetime:
        """The first instant after it."""
        return self.begins[-1]


def month_in(text: str, timezone: str) -> Month:
    """A month such as 2026-11, in a zone.

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
    days = tuple(first + timedelta(days=place) for place in range((after - first).days))
    zone = ZoneInfo(timezone)
    return Month(days, tuple(_begin(day, zone) for day in (*days, after)))


def _begin(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day; where the clocks skip midnight, the instant they do."""
    return datetime.combine(day, time(0), zone).astimezone(UTC)
