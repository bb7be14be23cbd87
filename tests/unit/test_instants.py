"""Times as people type and read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.instants import Clock

JOHANNESBURG = Clock("Africa/Johannesburg")
LONDON = Clock("Europe/London")
ZONES = ["Africa/Johannesburg", "Europe/London", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-24", "2026-11-23T22:00:00"),
        ("2026-11-24T21:00", "2026-11-24T19:00:00"),
        ("2026-11-24 21:00", "2026-11-24T19:00:00"),
        (" 2026-11-24T21:00:05 ", "2026-11-24T19:00:05"),
        ("2026-11-24T21:00:05.123456", "2026-11-24T19:00:05.123456"),
        ("2026-11-24T21:00:05Z", "2026-11-24T21:00:05"),
        ("2026-11-24T21:00Z", "2026-11-24T21:00:00"),
        ("2026-11-24 21:00 UTC", "2026-11-24T21:00:00"),
        ("2026-11-24 21:00:05 SAST", "2026-11-24T19:00:05"),
        ("2026-11-24T21:00:05+0530", "2026-11-24T15:30:05"),
        ("2026-11-24T21:00:05+05:30", "2026-11-24T15:30:05"),
        ("2026-11-24 21:00 -03", "2026-11-25T00:00:00"),
        ("2026-11-24T19:00:05.123456+00:00", "2026-11-24T19:00:05.123456"),
    ],
)
def test_a_time_is_read(typed, meant):
    """In the zone where it has no offset of its own; what JSON and tables show is read back."""
    assert JOHANNESBURG.read(typed) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "typed",
    ["", "yesterday", "2026-02-30", "2026-11-24T25:00", "20261124", "2026-W48-2", "2026-11-24T", "2026-11-24 BST",
     "2026-11-24T21:00 BST", "2026-11-24T21:00+99:00", "0001-01-01", "9999-12-31T23:00-09:00", "2026-11-24T21",
     "9999-12-31T23:59Z", "9999-12-31T20:00-02:00",
     "٢٠٢٦-11-24"],
)  # fmt: skip
def test_what_is_no_time_is_refused(typed):
    """With a sentence that says how one is written."""
    with pytest.raises(ValueError, match="must be") as caught:
        JOHANNESBURG.read(typed)
    assert repr(typed) in str(caught.value)


def test_an_hour_that_is_there_twice_is_told_apart_by_its_name():
    """25 October 2026, 01:30 in London: first in summer time, an hour later in winter time."""
    assert LONDON.read("2026-10-25 01:30") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert LONDON.read("2026-10-25 01:30 BST") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert LONDON.read("2026-10-25 01:30 GMT") == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="must be in Europe/London"):
        LONDON.read("2026-11-25 01:30 BST")


@given(st.sampled_from(ZONES), st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_what_is_shown_is_read_back(zone, at):
    """To the second, in any zone, at any turn of its clocks."""
    clock = Clock(zone)
    assert clock.read(clock.show(at)) == at.replace(microsecond=0)


def test_nothing_is_shown_for_none():
    """A time that is not there yet."""
    assert JOHANNESBURG.show(None) == ""
