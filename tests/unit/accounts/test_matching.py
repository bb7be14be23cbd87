"""Lines and calls are matched one to one, in whatever order they come, and never across two calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts.rules.matching import WEAK_WITHIN, WINDOW, match, windows
from pipeline.accounts.rules.offset import Offset, Part
from tests.unit.accounts.sides import AT, NONE, call, line, unanswered


def pairs(matched):
    return sorted((pair.there.line_id, pair.here.call_id) for pair in matched.pairs)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([40, 41, 5_000]), min_size=2, max_size=12),
    st.data(),
)
def test_calls_tried_again_40_seconds_later_never_take_each_others_line(gaps, data):
    """Whichever lines are missing, and whatever the durations say."""
    begun = [AT + sum(gaps[:place]) for place in range(len(gaps))]
    jitter = data.draw(st.lists(st.sampled_from([-19, 0, 19]), min_size=len(gaps), max_size=len(gaps)))
    seconds = data.draw(st.lists(st.integers(0, 300), min_size=len(gaps), max_size=len(gaps)))
    listed = data.draw(st.sets(st.sampled_from(range(len(gaps)))))
    lines = [line(place, begun[place] + jitter[place] + 7_203, seconds[place]) for place in listed]
    calls = [call(place, at, seconds[-1 - place]) for place, at in enumerate(begun)]
    matched = match(lines, calls, Offset((Part(None, 7_203),)))
    assert pairs(matched) == [(place, place) for place in sorted(listed)]
    assert not any(pair.weak for pair in matched.pairs)


SOME = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=8)


@settings(deadline=None)
@given(SOME, SOME, st.randoms(use_true_random=False))
def test_matching_is_one_to_one_and_does_not_depend_on_the_order(listed, dialled, chance):
    lines = [line(number, AT + at, seconds) for number, (at, seconds) in enumerate(listed)]
    calls = [call(number, AT + at, seconds) for number, (at, seconds) in enumerate(dialled)]
    matched = match(lines, calls, NONE)
    again = match(chance.sample(lines, len(lines)), chance.sample(calls, len(calls)), NONE)
    assert pairs(matched) == pairs(again)
    assert sorted(matched.lines) == sorted(again.lines)
    assert sorted(matched.twins) == sorted(again.twins)
    of_lines = [pair.there.line_id for pair in matched.pairs] + [each.line_id for each in matched.lines]
    of_lines += [each.line_id for each, _ in matched.twins]
    of_calls = [pair.here.call_id for pair in matched.pairs] + [each.call_id for each in matched.calls]
    assert sorted(of_lines) == list(range(len(lines)))
    assert sorted(of_calls) == list(range(len(calls)))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20).map(sorted))
def test_no_two_windows_overlap(begun):
    """Only calls of the same second share one, and it is that second."""
    reach = windows(begun)
    for (one, near), (other, far) in zip(zip(begun, reach, strict=True), list(zip(begun, reach, strict=True))[1:]):  # noqa: B905
        assert one + near < other - far or (one == other and near == far == 0)
    assert max(reach) <= WINDOW


def test_the_duration_decides_among_calls_of_the_same_second():
    lines = [line(1, AT, 10), line(2, AT, 90)]
    calls = [call(1, AT, 88), call(2, AT, 11)]
    assert pairs(match(lines, calls, NONE)) == [(1, 2), (2, 1)]


def test_of_two_lines_near_a_call_the_nearest_has_it():
    """By the time and twice the duration: three seconds later and alike beats at once and two seconds longer."""
    matched = match([line(1, AT, 62), line(2, AT + 3, 60)], [call(7, AT, 60)], NONE)
    assert pairs(matched) == [(2, 7)]
    assert [each.line_id for each in matched.lines] == [1]


@pytest.mark.parametrize(("later", "seconds", "twin"), [(0, 60, True), (1, 61, True), (2, 60, False), (0, 62, False)])
def test_a_line_that_says_the_same_again_is_a_twin(later, seconds, twin):
    matched = match([line(1), line(2, AT + later, seconds)], [call(7)], NONE)
    assert pairs(matched) == [(1, 7)]
    assert [(each.line_id, of.line_id) for each, of in matched.twins] == ([(2, 1)] if twin else [])


def test_lines_without_a_call_may_be_twins_too():
    matched = match([line(1), line(2)], [], NONE)
    assert [(each.line_id, of.line_id) for each, of in matched.twins] == [(2, 1)]
    assert [each.line_id for each in matched.lines] == [1]


class TestWeak:
    """What has nothing in common but the number."""

    def test_one_and_one_within_half_a_day(self):
        (pair,) = match([line(1, AT + WEAK_WITHIN)], [call(7)], NONE).pairs
        assert (pair.weak, pair.apart) == (True, WEAK_WITHIN)

    @pytest.mark.parametrize(
        ("lines", "calls"),
        [
            ([line(1, AT + WEAK_WITHIN + 1)], [call(7)]),
            ([line(1, AT + 900), line(2, AT + 1_800)], [call(7)]),
            ([line(1, AT + 900)], [call(7), call(8, AT + 3_600)]),
            ([line(1, AT + 900)], [unanswered(7)]),
            ([line(1, AT + 900)], [call(7, ours=False)]),
        ],
        ids=["too far", "two lines", "two calls", "nothing is due", "none of this comparison"],
    )
    def test_no_other(self, lines, calls):
        assert match(lines, calls, NONE).pairs == []

    def test_what_is_matched_is_not_in_the_way(self):
        matched = match([line(1), line(2, AT + 7_000)], [call(7), call(8, AT + 3_600)], NONE)
        assert pairs(matched) == [(1, 7), (2, 8)]
        assert [pair.weak for pair in matched.pairs] == [False, True]


def test_near_a_change_of_the_clock_either_offset_will_do():
    """In the hour that is there twice a line does not say which of the two it means."""
    offset = Offset((Part(None, 3_600), Part(AT + 3_600, 0)))
    lines = [line(1, AT + 3_500), line(2, AT + 3_700), line(3, AT + 3_650)]
    calls = [call(1, AT - 100), call(2, AT + 3_700), call(3, AT + 50)]
    assert pairs(match(lines, calls, offset)) == [(1, 1), (2, 2), (3, 3)]


def test_a_number_that_is_called_all_day_takes_no_time():
    """Ten thousand lines of one number that match nothing."""
    lines = [line(number, AT + 40 * number) for number in range(10_000)]
    matched = match(lines, [call(number, AT + 20 + 40 * number) for number in range(10_000)], NONE)
    assert len(matched.lines) == len(matched.calls) == 10_000
