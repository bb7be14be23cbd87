"""The rate of a call: longest prefix first, valid at the instant, in the tariff's own time."""

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.billing.rules.rate_deck import RateDeck, overlaps
from pipeline.billing.rules.rating import Rate
from pipeline.errors import DataError

ONE = Decimal(1)
AT = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
JOHANNESBURG = "Africa/Johannesburg"
BERLIN = "Europe/Berlin"


def rate(prefix: str = "27", **fields: Any) -> Rate:
    return Rate(prefix, ONE, **fields)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def prefix_found(deck: RateDeck, digits: str, at: datetime) -> str | None:
    found = deck.find(digits, at)
    return None if found is None else found.prefix


def holds(one: Rate, at: datetime, timezone: str = JOHANNESBURG) -> bool:
    return RateDeck([one], timezone).find("27820001234", at) is one


@pytest.mark.parametrize(
    ("digits", "prefix"),
    [
        ("27820001234", "2782"),
        ("27830001234", "27"),
        ("2782", "2782"),
        ("278", "27"),
        ("+27820001234", "2782"),
        ("442071838750", ""),
        ("2", ""),
        ("", ""),
        ("anonymous", ""),
        ("2782x", ""),
        ("٢٧٨٢", ""),
    ],
)
def test_the_longest_prefix_wins(digits: str, prefix: str) -> None:
    """The most specific prefix decides; what is no E.164 number finds only the default."""
    deck = RateDeck([rate(""), rate("27"), rate("2782"), rate("278299")], JOHANNESBURG)
    assert prefix_found(deck, digits, AT) == prefix
    assert len(deck) == 4


def test_no_rate_is_none() -> None:
    """Without a default there may be no rate, which is not a rate of nothing."""
    assert RateDeck([rate("44")], JOHANNESBURG).find("27820001234", AT) is None
    assert RateDeck([], JOHANNESBURG).find("27820001234", AT) is None


def test_validity_is_half_open() -> None:
    """A rate holds from its first instant and no longer at its last; its successor takes over there."""
    change = utc(2026, 3, 1)
    old, new = rate(valid_to=change, id=1), rate(valid_from=change, id=2)
    deck = RateDeck([new, old], JOHANNESBURG)
    tick = timedelta(microseconds=1)
    assert deck.find("27", change - tick) is old
    assert deck.find("27", change) is new
    assert overlaps([old, new]) == []


def test_a_shorter_prefix_serves_while_the_longer_is_not_valid() -> None:
    """An expired or future rate does not hide the one behind it."""
    deck = RateDeck([rate("27"), rate("2782", valid_from=utc(2026, 4, 1)), rate("")], JOHANNESBURG)
    assert prefix_found(deck, "27820001234", AT) == "27"
    assert prefix_found(deck, "27820001234", utc(2026, 4, 1)) == "2782"


def test_peak_and_off_peak() -> None:
    """Among rates of one prefix the one whose window holds the local time is taken."""
    peak = rate(time_of_day=(time(7), time(20)), weekdays=frozenset(range(1, 6)), id=1)
    night = rate(time_of_day=(time(20), time(7)), weekdays=frozenset(range(1, 6)), id=2)
    weekend = rate(weekdays=frozenset({6, 7}), id=3)
    deck = RateDeck([peak, night, weekend], JOHANNESBURG)
    assert deck.find("27", utc(2026, 3, 2, 4, 59)) is night  # 06:59 in Johannesburg
    assert deck.find("27", utc(2026, 3, 2, 5)) is peak
    assert deck.find("27", utc(2026, 3, 2, 17, 59)) is peak
    assert deck.find("27", utc(2026, 3, 2, 18)) is night
    assert deck.find("27", utc(2026, 3, 6, 21, 59)) is night  # Friday, 23:59
    assert deck.find("27", utc(2026, 3, 6, 22)) is weekend  # Saturday, 00:00
    assert overlaps([peak, night, weekend], JOHANNESBURG) == []


def test_a_weekday_is_the_local_day_of_the_call() -> None:
    """After midnight a window that began on Friday is Saturday's."""
    friday_night = rate(time_of_day=(time(22), time(6)), weekdays=frozenset({5}))
    assert holds(friday_night, utc(2026, 3, 6, 21))  # Friday 23:00
    assert not holds(friday_night, utc(2026, 3, 6, 23))  # Saturday 01:00
    assert holds(friday_night, utc(2026, 3, 5, 23))  # Friday 01:00


def test_a_window_to_the_time_it_began_is_all_day() -> None:
    """From a time to the same time goes once round the clock."""
    assert all(holds(rate(time_of_day=(time(8), time(8))), utc(2026, 3, 2, hour)) for hour in range(24))


def test_a_clock_that_goes_forward_skips_the_window() -> None:
    """On the last Sunday of March Berlin has no 02:30, and a window inside the gap never opens."""
    gap = rate(time_of_day=(time(2), time(3)))
    sunday = utc(2026, 3, 29)
    assert not any(holds(gap, sunday + timedelta(minutes=m), BERLIN) for m in range(0, 12 * 60, 10))
    assert holds(gap, utc(2026, 3, 28, 1, 30), BERLIN)


def test_a_clock_that_goes_back_opens_the_window_twice() -> None:
    """On the last Sunday of October both passes of 02:30 in Berlin are inside."""
    twice = rate(time_of_day=(time(2), time(3)))
    minutes = [m for m in range(0, 12 * 60, 10) if holds(twice, utc(2026, 10, 25) + timedelta(minutes=m), BERLIN)]
    assert minutes == list(range(0, 120, 10))


def test_summer_time_moves_the_window_in_utc() -> None:
    """Eight in the morning is 07:00 UTC in a Berlin winter and 06:00 UTC in summer."""
    day = rate(time_of_day=(time(8), time(18)))
    assert [holds(day, utc(2026, 1, 15, h), BERLIN) for h in (6, 7, 16, 17)] == [False, True, True, False]
    assert [holds(day, utc(2026, 7, 15, h), BERLIN) for h in (5, 6, 15, 16)] == [False, True, True, False]


def test_a_leap_day_has_its_rate() -> None:
    """A promotion on 29 February holds that day, and only then."""
    start = datetime(2028, 2, 29, tzinfo=ZoneInfo(JOHANNESBURG))
    leap = rate(valid_from=start, valid_to=start + timedelta(days=1))
    assert [holds(leap, utc(2028, 2, 28, h)) for h in (21, 22)] == [False, True]
    assert [holds(leap, utc(2028, 2, 29, h)) for h in (21, 22)] == [True, False]
    assert holds(rate(weekdays=frozenset({2})), utc(2028, 2, 29, 12))


def test_an_hour_that_comes_twice_is_told_apart() -> None:
    """A rate which begins at the second 02:30 does not hold at the first, though the clock shows the same."""
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo(BERLIN))
    later = rate(valid_from=first.replace(fold=1))
    assert not holds(later, first, BERLIN)
    assert holds(later, first.replace(fold=1), BERLIN)


def test_an_instant_needs_a_time_zone() -> None:
    """A naive instant is a mistake of the caller, not a guess of the deck."""
    with pytest.raises(ValueError, match="time zone"):
        RateDeck([rate()], JOHANNESBURG).find("27", datetime(2026, 3, 2))  # noqa: DTZ001


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Africa", "\x00", "Africa/Johannesburg "])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    """A tariff's time zone has to exist."""
    with pytest.raises(DataError, match="timezone: must be an IANA time zone"):
        RateDeck([], name)


def test_overlapping_rates_are_found() -> None:
    """Two rates of one prefix at one instant are reported, and others are left alone."""
    base = rate(id=1)
    peak = rate(id=2, time_of_day=(time(7), time(20)))
    other = rate("44", id=3)
    assert overlaps([base, other, peak]) == [(base, peak)]
    assert overlaps([base, base]) == [(base, base)]


def test_the_newest_of_overlapping_rates_is_found_in_any_order() -> None:
    """The deck's answer does not hang on the order of the rows it was built from."""
    old, new = rate(id=1, valid_from=utc(2026, 1, 1)), rate(id=2, valid_from=utc(2026, 2, 1))
    assert RateDeck([old, new], JOHANNESBURG).find("27", AT) is new
    assert RateDeck([new, old], JOHANNESBURG).find("27", AT) is new


def test_a_short_common_validity_may_miss_the_window() -> None:
    """Weekend rates that share only a Wednesday do not overlap; those that share a Saturday do."""
    weekend = frozenset({6, 7})
    old = rate(valid_to=utc(2026, 3, 5), weekdays=weekend)
    new = rate(valid_from=utc(2026, 3, 4), weekdays=weekend)
    assert overlaps([old, new], JOHANNESBURG) == []
    assert overlaps([rate(valid_to=utc(2026, 3, 8), weekdays=weekend), new], JOHANNESBURG) != []


def test_an_overlap_may_begin_where_the_clock_jumps() -> None:
    """A window from 02:30 opens at 03:00 on the day Berlin skips the hour, and there two rates meet."""
    window = (time(2, 30), time(3, 15))
    one = rate(valid_to=utc(2026, 3, 29, 2), time_of_day=window)
    other = rate(valid_from=utc(2026, 3, 29, 0, 45), time_of_day=window)
    assert overlaps([one, other], BERLIN) == [(one, other)]
    assert overlaps([rate(valid_to=utc(2026, 3, 29, 1), time_of_day=window), other], BERLIN) == []


def test_an_overlap_may_lie_in_the_second_of_two_equal_hours() -> None:
    """Rates that share only the second 02:37 of an October night in Berlin overlap there."""
    window = (time(2, 37), time(2, 40))
    one = rate(valid_to=utc(2026, 10, 25, 2), time_of_day=window)
    other = rate(valid_from=utc(2026, 10, 25, 0, 50), time_of_day=window)
    assert overlaps([one, other], BERLIN) == [(one, other)]


def test_validity_until_the_end_of_the_calendar() -> None:
    """A rate "for ever" may end in a zone where the calendar ends after UTC's does."""
    west = timezone(timedelta(hours=-5))
    for_ever = rate(valid_to=datetime(9999, 12, 31, 23, 59, 59, tzinfo=west))
    assert holds(for_ever, AT)
    assert overlaps([for_ever, rate(valid_from=AT)]) != []
    assert overlaps([for_ever, rate("44")]) == []


PREFIX = st.text("12", max_size=4)
INSTANT = st.integers(0, 40).map(lambda days: utc(2026, 1, 1) + timedelta(days=days))
QUARTER = st.integers(0, 95).map(lambda quarter: time(quarter // 4, quarter % 4 * 15))
WEEKDAYS = st.none() | st.frozensets(st.integers(1, 7), min_size=1)
WINDOW = st.none() | st.tuples(QUARTER, QUARTER)


@st.composite
def rates(draw: st.DrawFn, instants: st.SearchStrategy[datetime], prefixes: st.SearchStrategy[str] = PREFIX) -> Rate:
    start, end = draw(st.none() | instants), draw(st.none() | instants)
    if start is not None and end is not None and start >= end:
        end = None
    return Rate(draw(prefixes), ONE, valid_from=start, valid_to=end, weekdays=draw(WEEKDAYS), time_of_day=draw(WINDOW))


def numbered(found: list[Rate]) -> list[Rate]:
    return [msgspec.structs.replace(one, id=i) for i, one in enumerate(found)]


def applies(one: Rate, at: datetime, zone: str) -> bool:
    """The rule once more, as plainly as it can be said."""
    local = at.astimezone(ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    if (one.valid_from and at < one.valid_from) or (one.valid_to and at >= one.valid_to):
        return False
    if one.weekdays and local.isoweekday() not in one.weekdays:
        return False
    if one.time_of_day is None:
        return True
    start, end = (t.hour * 60 + t.minute for t in one.time_of_day)
    length = (end - start) % 1440 or 1440
    return (minute - start) % 1440 < length


@given(
    st.lists(rates(INSTANT), max_size=12).map(numbered),
    st.text("12", max_size=6),
    st.integers(0, 41 * 24 * 60).map(lambda minutes: utc(2026, 1, 1) + timedelta(minutes=minutes)),
)
@settings(max_examples=300)
def test_the_deck_agrees_with_brute_force(found: list[Rate], digits: str, at: datetime) -> None:
    """What the deck finds is what trying every rate finds: longest prefix, then the newest."""
    fitting = [one for one in found if digits.startswith(one.prefix) and applies(one, at, BERLIN)]
    newest = max(
        fitting,
        key=lambda one: (len(one.prefix), one.valid_from or datetime.min.replace(tzinfo=UTC), one.id),
        default=None,
    )
    assert RateDeck(found, BERLIN).find(digits, at) is newest


CLOCKS_CHANGE = st.sampled_from([utc(2026, 3, 28), utc(2026, 10, 24)])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_overlaps_agree_with_brute_force(data: st.DataObject) -> None:
    """Around a change of clocks, two rates overlap exactly when some quarter of an hour has both."""
    base = data.draw(CLOCKS_CHANGE)
    instants = st.integers(0, 4 * 48).map(lambda quarter: base + timedelta(minutes=15 * quarter))
    both = numbered(data.draw(st.lists(rates(instants, st.just("27")), min_size=2, max_size=2)))
    quarters = [base + timedelta(minutes=15 * quarter) for quarter in range(-4 * 24 * 16, 4 * 24 * 19)]
    shared = any(applies(both[0], at, BERLIN) and applies(both[1], at, BERLIN) for at in quarters)
    assert bool(overlaps(both, BERLIN)) == shared


@given(st.lists(rates(INSTANT, st.sampled_from(["1", "12"])), max_size=6).map(numbered))
@settings(deadline=None)
def test_no_pair_is_forgotten(found: list[Rate]) -> None:
    """Looking at all rates at once finds the pairs that looking at each two finds."""
    pairs = {
        frozenset((one.id, other.id))
        for i, one in enumerate(found)
        for other in found[i + 1 :]
        if overlaps([one, other], BERLIN)
    }
    assert {frozenset((a.id, b.id)) for a, b in overlaps(found, BERLIN)} == pairs
