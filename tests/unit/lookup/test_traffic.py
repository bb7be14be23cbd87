"""What calls come to as traffic: whatever is not known of them, the truth lies between the bounds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls.rules.disposition import Disposition
from pipeline.lookup.rules.traffic import (
    NO_TRAFFIC,
    Cell,
    Kind,
    Traffic,
    kind_of,
    percentile,
    share,
    total,
    traffic_of,
)

SOME = st.integers(0, 500)
CELLS = st.lists(
    st.builds(
        Cell,
        st.sampled_from([None, *Disposition, "a word of a later version"]),
        st.booleans(),
        st.none() | st.integers(0, 600),
        st.integers(1, 1_000),
        st.integers(0, 100_000),
    )
)


@pytest.mark.parametrize(
    ("disposition", "uncertain", "hold_seconds", "kind"),
    [
        ("answered", False, None, Kind.ANSWERED),
        ("answered", True, 4, Kind.ANSWERED),  # cut off, but an agent was on the call
        ("abandoned", False, 0, Kind.ABANDONED),
        ("abandoned", True, None, Kind.PERHAPS_ABANDONED),
        ("abandoned", True, 4, Kind.PERHAPS_ABANDONED),  # by its code alone
        ("error", False, 4, Kind.PERHAPS_ABANDONED),
        ("no_answer", False, 1, Kind.PERHAPS_ABANDONED),
        ("error", False, 0, Kind.NOT_PICKED_UP),
        ("no_answer", False, None, Kind.NOT_PICKED_UP),
        ("busy", False, 4, Kind.NOT_PICKED_UP),
        ("rejected", False, None, Kind.NOT_PICKED_UP),
        ("failed", False, None, Kind.NOT_PICKED_UP),
        ("voicemail", False, 4, Kind.VOICEMAIL),
        ("unknown", True, None, Kind.UNDECIDED),
        (None, False, None, Kind.UNDECIDED),
    ],
)
def test_the_kind_of_a_call(disposition, uncertain, hold_seconds, kind):
    assert kind_of(disposition, uncertain=uncertain, hold_seconds=hold_seconds) is kind


def test_rates_worked_by_hand():
    """Of 100 calls 40 were answered, 5 abandoned for certain, 10 perhaps, 2 undecided, 13 went to a machine."""
    cells = [
        Cell("answered", False, 3, 30, 3_000),
        Cell("answered", False, None, 10, 1_010),
        Cell("abandoned", False, 20, 5, 0),
        Cell("abandoned", True, None, 8, 0),
        Cell("error", False, 9, 2, 0),
        Cell("unknown", True, None, 1, 0),
        Cell(None, False, 2, 1, 50),
        Cell("voicemail", False, 1, 13, 0),
        Cell("busy", False, None, 30, 0),
    ]
    found = traffic_of(cells)
    assert (found.attempts, found.answer_rate, found.voicemail_share) == (100, Decimal("0.4"), Decimal("0.13"))
    assert (found.talk_seconds, found.acd_seconds) == (4_010, Decimal("100.2"))  # 100.25
    assert found.abandon_low == Decimal("0.1064")  # 5 of 40 + 2 + 5
    assert found.abandon_high == Decimal("0.2982")  # 17 of 40 + 17
    assert found.holds == {3: 30, 20: 5}
    assert (percentile(found.holds, 50), percentile(found.holds, 95)) == (3, 20)


def test_of_nothing_there_is_no_rate():
    """And nothing is divided by it."""
    rates = ("answer_rate", "acd_seconds", "abandon_low", "abandon_high", "voicemail_share")
    assert [getattr(NO_TRAFFIC, name) for name in rates] == [None] * 5
    assert NO_TRAFFIC.attempts == 0
    assert percentile(NO_TRAFFIC.holds, 95) is None
    unanswered = traffic_of([Cell("busy", False, None, 7, 0)])
    assert unanswered.answer_rate == 0
    assert [getattr(unanswered, name) for name in rates[1:4]] == [None] * 3


@given(answered=SOME, abandoned=SOME, perhaps=SOME, undecided=SOME, data=st.data())
def test_whatever_became_of_them_the_truth_is_between_the_bounds(answered, abandoned, perhaps, undecided, data):
    """What may have been abandoned was, or nobody picked up; what is undecided was answered, abandoned, or neither."""
    calls = {
        Kind.ANSWERED: answered,
        Kind.ABANDONED: abandoned,
        Kind.PERHAPS_ABANDONED: perhaps,
        Kind.UNDECIDED: undecided,
    }
    bounds = Traffic(calls, 0, {})
    really = abandoned + data.draw(st.integers(0, perhaps), "of those perhaps abandoned")
    of_the_undecided = data.draw(st.integers(0, undecided), "abandoned of the undecided")
    really += of_the_undecided
    spoken = answered + data.draw(st.integers(0, undecided - of_the_undecided), "answered of the undecided")
    truth = share(really, spoken + really)
    if truth is not None:
        assert bounds.abandon_high is not None
        assert (bounds.abandon_low or 0) <= truth <= bounds.abandon_high
    if not perhaps and not undecided:
        assert bounds.abandon_low == bounds.abandon_high == truth


@given(CELLS, CELLS)
def test_groups_add_up(some, others):
    """Two groups come to what their calls come to as one, and every rate is one."""
    both = total([traffic_of(some), traffic_of(others)])
    assert both == traffic_of([*others, *some])
    assert both.attempts == sum(cell.calls for cell in [*some, *others])
    for rate in (both.answer_rate, both.abandon_low, both.abandon_high, both.voicemail_share):
        assert rate is None or 0 <= rate <= 1
    assert (both.abandon_low or 0) <= (both.abandon_high or 0)


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_one_of_the_sorted_values(values, percent):
    """The first that so many per cent of them do not exceed."""
    counted = {value: values.count(value) for value in values}
    found = percentile(counted, percent)
    assert found in counted
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)
