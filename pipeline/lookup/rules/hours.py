"""The hours and days of a window in a zone, with their names: an hour is there as often as the clocks show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.billing.rules.months import days_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


class Spans(NamedTuple):
    """Parts of a window, one behind the other, and what each is called."""

    names: tuple[str, ...]
    begins: tuple[datetime, ...]
    """When each of them begins, in UTC; the first not later than the window."""


def daily(since: datetime, until: datetime, timezone: str) -> Spans:
    """The days of a zone that a window lies in, such as ``2026-11-24``.

    Args:
        since: its first instant, aware.
        until: the first instant after it, aware.
        timezone: the zone.
    """
    days = days_of(since, until, timezone)
    return Spans(tuple(day.isoformat() for day in days.days), days.begins[:-1])


def hourly(since: datetime, until: datetime, timezone: str) -> Spans:
    """The hours of a zone that a window lies in; what of the first is before the window is not in it.

    Each is called by when it begins and the offset it has, so that the hour that the clocks show twice is two.

    >>> since, until = datetime(2026, 10, 24, 23, 30, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)
    >>> hourly(since, until, "Europe/Berlin").names
    ('2026-10-25T01:00+02:00', '2026-10-25T02:00+02:00', '2026-10-25T02:00+01:00')

    Args:
        since: its first instant, aware.
        until: the first instant after it, aware.
        timezone: the zone.
    """
    zone = ZoneInfo(timezone)
    begins = tuple(_begins(since.astimezone(UTC), until, zone))
    return Spans(tuple(_name(at.astimezone(zone)) for at in begins), begins)


def _begins(at: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    while at < until:
        yield at
        at = _after(at, zone)


def _after(at: datetime, zone: ZoneInfo) -> datetime:
    """When the hour that an instant is in is over: at the next full one, or where the clocks are changed before it."""
    local = at.astimezone(zone)
    minute = at - timedelta(seconds=local.second, microseconds=local.microsecond)
    full = minute + _HOUR - timedelta(minutes=local.minute)
    if full.astimezone(zone).utcoffset() == local.utcoffset():
        return full
    minutes = (minute + count * _MINUTE for count in range(1, 60))
    changed = (each for each in minutes if each.astimezone(zone).utcoffset() != local.utcoffset())
    return min(next(changed, full), full)


def _name(local: datetime) -> str:
    minute = local.isoformat(timespec="minutes")
    return f"{minute[:14]}00{minute[16:]}"
