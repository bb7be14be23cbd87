"""The clock of a file is found by what most lines have in common, or not at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts.rules.offset import SEARCHED, AmbiguousOffsetError, Differences, Offset, Part

DAY = 86_400
MONTH = range(1_790_000_000, 1_790_000_000 + 30 * DAY)


def calls_of(chance, numbers=200, most=3):
    """Calls of a month, a list a number: when each began and how long it was."""
    return [
        sorted((chance.choice(MONTH), chance.randrange(1, 600)) for _ in range(chance.randrange(1, most + 1)))
        for _ in range(numbers)
    ]


def found(numbers, shift, *, missing=0.0, chance=None):
    """The offset of a file that has these calls, each shifted by what `shift` says of its time."""
    differences = Differences()
    for calls in numbers:
        lines = [(at + shift(at), seconds) for at, seconds in calls if not (chance and chance.random() < missing)]
        differences.add(lines, calls)
    return differences.offset()


@pytest.mark.parametrize("seconds", [-7_200, 3, 0, 7_203, SEARCHED, -SEARCHED + 15])
def test_an_offset_is_found_to_the_second(seconds):
    assert found(calls_of(random.Random(1)), lambda _: seconds).parts == (Part(None, seconds),)


@settings(deadline=None, max_examples=40)
@given(st.integers(-SEARCHED + 10, SEARCHED - 10), st.integers(0, 2**32), st.floats(0, 0.6))
def test_an_offset_is_found_whatever_is_missing_and_however_long_it_rings(seconds, seed, missing):
    """Carriers may stamp the pick-up: each call rings for a while of its own, and lines are lost."""
    chance = random.Random(seed)
    numbers = calls_of(chance)
    offset = found(numbers, lambda _: seconds + chance.randrange(-8, 9), missing=missing, chance=chance)
    assert len(offset.parts) == 1
    assert abs(offset.parts[0].seconds - seconds) <= 5
    assert offset.share > 0.8


@pytest.mark.parametrize(("before", "after"), [(7_200, 3_600), (0, 3_600), (3, -3_597)])
def test_a_change_of_the_clock_is_two_offsets_an_hour_apart(before, after):
    """A file in local time that was read with a fixed offset: each part of the month has its own."""
    changed = MONTH[25 * DAY]
    offset = found(calls_of(random.Random(2)), lambda at: before if at < changed else after)
    assert [part.seconds for part in offset.parts] == [before, after]
    first, second = offset.parts
    assert first.since is None
    assert abs(second.since - changed) < DAY
    assert offset.share == 1
    assert offset.at(MONTH[0]) == (before,)
    assert offset.at(MONTH[-1]) == (after,)


def test_calls_tried_again_after_an_hour_are_no_change_of_the_clock():
    """An hour apart all through the month, and not before a day and after it."""
    chance = random.Random(3)
    numbers = [[(at := chance.choice(MONTH), 30), (at + 3_600, 31)] for _ in range(100)]
    numbers += calls_of(chance, 200, most=1)
    assert found(numbers, lambda _: 5).parts == (Part(None, 5),)


@pytest.mark.parametrize(
    ("numbers", "shift", "why"),
    [
        ([[(MONTH[0] + 40 * n, 10) for n in range(20)]], lambda _: 3, "more than 80% as many"),
        ([[(MONTH[0] + DAY * n, 10)] for n in range(4)], lambda _: 900, "only 4 of 4 lines agree"),
        (
            calls_of(random.Random(4), 100, 1),
            lambda at: at * 7_919 % 80_000 if at % 10 else 3,
            "30% of them are needed",
        ),
    ],
    ids=["one number called at equal intervals", "four lines", "lines that agree on nothing"],
)
def test_what_is_ambiguous_is_refused(numbers, shift, why):
    with pytest.raises(AmbiguousOffsetError, match=why):
        found(numbers, shift)


def test_a_handful_of_lines_shows_no_offset_but_none():
    """A first file of four lines is no reason to be asked for an offset that is not there."""
    assert found([[(MONTH[n * DAY], 10)] for n in range(4)], lambda _: 3).parts == (Part(None, 3),)


def test_without_a_number_in_common_there_is_none():
    differences = Differences()
    differences.add([(MONTH[0], 10)], [(MONTH[-1], 10)])
    assert differences.offset() == Offset((Part(None, 0),))
    assert differences.offset().share is None


def test_a_number_called_all_day_does_not_outweigh_the_others():
    """The differences of a busy number, each with each, are as many as a day has minutes."""
    numbers = calls_of(random.Random(5), 60, 1)
    numbers.append([(MONTH[0] + 60 * n, 10) for n in range(1_000)])
    assert found(numbers, lambda _: 7_203).parts == (Part(None, 7_203),)
