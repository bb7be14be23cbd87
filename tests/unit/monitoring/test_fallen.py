"""When a number called from counts as fallen."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.monitoring.rules.fallen import FEWEST, Answering, fallen

BEFORE = (10_000, 2_000)
"""A fifth of them answered."""
MANY = st.integers(0, 5_000)


@st.composite
def numbers(draw):
    attempts, before = draw(MANY), draw(MANY)
    answered, answered_before = draw(st.integers(0, attempts)), draw(st.integers(0, before))
    return Answering("+27123456789", attempts, answered, before, answered_before)


@pytest.mark.parametrize(
    ("attempts", "answered", "before", "has_fallen"),
    [
        (200, 24, BEFORE, True),  # 12 of 20 per cent are left: 40 % are gone
        (199, 23, BEFORE, False),  # as deep, of one call less
        (1_000, 120, BEFORE, True),
        (1_000, 121, BEFORE, False),  # 39.5 %
        (100_000, 12_020, BEFORE, False),  # 39.9 %
        (100_000, 12_000, BEFORE, True),
        (200, 0, BEFORE, True),
        (200, 40, BEFORE, False),
        (200, 200, BEFORE, False),
        (200, 0, (200, 1), True),
        (200, 0, (199, 199), False),  # too little is known of before
        (200, 0, (10_000, 0), False),  # nothing was there to fall
        (200, 0, (0, 0), False),
        (0, 0, BEFORE, False),
    ],
)
def test_it_is_as_deep_as_it_counts_with_enough_calls(attempts, answered, before, has_fallen):
    assert Answering("+27123456789", attempts, answered, *before).has_fallen is has_fallen


def test_rates_of_nothing():
    """Are none; and what rose fell by less than nothing."""
    none = Answering("1", 0, 0, 0, 0)
    assert (none.answer_rate, none.answer_rate_before, none.fall) == (None, None, None)
    assert Answering("1", 200, 80, 1_000, 200).fall == Decimal(-1)


def test_what_fell_deepest_comes_first():
    deep, less, as_deep = (
        Answering(name, 400, answered, *BEFORE) for name, answered in (("b", 8), ("c", 40), ("a", 8))
    )
    assert fallen([less, deep, Answering("d", 400, 80, *BEFORE), as_deep]) == [as_deep, deep, less]


@given(numbers())
def test_a_number_falls_only_below_its_own_rate(number):
    """With enough calls on both sides; with one answered call less it has fallen all the more."""
    if number.has_fallen:
        assert min(number.attempts, number.attempts_before) >= FEWEST
        assert number.fall is not None
        assert number.fall >= Decimal("0.4")
        assert number.answer_rate is not None
        assert number.answer_rate_before is not None
        assert number.answer_rate < number.answer_rate_before
        assert number._replace(answered=max(0, number.answered - 1)).has_fallen


@given(numbers(), st.integers(2, 9))
def test_as_many_times_more_calls_change_nothing_but_their_number(number, times):
    """A fall is a part of a rate."""
    more = Answering(number.dial_number, *(each * times for each in number[1:]))
    assert more.fall == number.fall
    if number.has_fallen:
        assert more.has_fallen
