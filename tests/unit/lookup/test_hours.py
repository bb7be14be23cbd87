"""The hours of a window, on days whose clocks are changed too: together they are the window, and none is twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lookup.rules.hours import daily, hourly

ZONES = [
    *("Africa/Johannesburg", "UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("America/Santiago", "Pacific/Apia"),  # at midnight; a day that never was
]
FIRST, LAST = map(datetime.fromisoformat, ("2000-01-01", "2030-01-01"))


def local(text, zone):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def whole_day(day, zone):
    since = local(day, zone)
    return hourly(since, local(str(datetime.fromisoformat(day).date() + timedelta(days=1)), zone), zone)


@pytest.mark.parametrize(
    ("day", "hours", "at_two"),
    [
        ("2026-03-29", 23, []),
        ("2026-10-25", 25, ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]),
        ("2026-06-01", 24, ["2026-06-01T02:00+02:00"]),
    ],
)
def test_a_day_has_as_many_hours_as_its_clocks_show(day, hours, at_two):
    names = whole_day(day, "Europe/Berlin").names
    assert len(names) == hours
    assert [name for name in names if "T02:" in name] == at_two


def test_half_an_hour_is_an_hour_of_its_own():
    """Where clocks go back by half an hour, the half that is there twice is told apart by its offset."""
    assert whole_day("2026-04-05", "Australia/Lord_Howe").names[:4] == (
        "2026-04-05T00:00+11:00",
        "2026-04-05T01:00+11:00",
        "2026-04-05T01:00+10:30",
        "2026-04-05T02:00+10:30",
    )


def test_hours_are_those_of_the_zone():
    """Not of UTC, and the first begins with the window."""
    since = datetime(2026, 11, 24, 10, 10, 30, tzinfo=UTC)
    found = hourly(since, since + timedelta(hours=1), "Asia/Kathmandu")
    assert found.names == ("2026-11-24T15:00+05:45", "2026-11-24T16:00+05:45")
    assert found.begins == (since, datetime(2026, 11, 24, 10, 15, tzinfo=UTC))


def test_days_are_called_by_their_date():
    since = datetime(2026, 11, 24, 21, tzinfo=UTC)
    found = daily(since, since + timedelta(hours=2), "Africa/Johannesburg")
    assert found.names == ("2026-11-24", "2026-11-25")
    assert found.begins == (datetime(2026, 11, 23, 22, tzinfo=UTC), datetime(2026, 11, 24, 22, tzinfo=UTC))


@given(
    st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=9)),
    st.sampled_from(ZONES),
)
def test_hours_follow_each_other(since, long, zone):
    """They begin with the window, each is an hour at most and of one offset, and no two are called the same."""
    names, begins = hourly(since, since + long, zone)
    ends = [*begins[1:], since + long]
    assert begins[0] == since
    assert len(set(names)) == len(names)
    for name, begin, end in zip(names, begins, ends, strict=True):
        assert timedelta(0) < end - begin <= timedelta(hours=1)
        first, last = (at.astimezone(ZoneInfo(zone)) for at in (begin, end - timedelta(microseconds=1)))
        assert first.utcoffset() == last.utcoffset()
        assert name[:14] == f"{first:%Y-%m-%dT%H}:" == f"{last:%Y-%m-%dT%H}:"
