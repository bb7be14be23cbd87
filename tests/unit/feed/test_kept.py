"""What is kept for a moment: found once by many at once, bounded by weight, and forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.feed.kept import Kept
from tests.patience import eventually


def finder(asked):
    def find(missing):
        asked.append(list(missing))
        return {each: each * 2 for each in missing if each >= 0}

    return find


def test_only_what_is_missing_is_looked_for():
    kept, asked = Kept[int, int](most=10), []
    assert kept.look_up([1, 2], finder(asked)) == {1: 2, 2: 4}
    assert kept.look_up([2, 3, -1], finder(asked)) == {2: 4, 3: 6}
    assert kept.look_up([1, 2, 3], finder(asked)) == {1: 2, 2: 4, 3: 6}
    assert asked == [[1, 2], [3, -1]]


def test_of_those_who_want_the_same_at_once_one_looks_for_it():
    kept, asked, answered = Kept[int, int](most=10), [], threading.Event()

    def find(missing):
        asked.append(list(missing))
        answered.wait(10)
        return finder([])(missing)

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(kept.look_up, [1, 2], find) for _ in range(8)]
        eventually(lambda: asked)
        answered.set()
        assert [each.result() for each in found] == [{1: 2, 2: 4}] * 8
    assert asked == [[1, 2]]


def test_one_whose_look_fails_keeps_nobody_out():
    kept, asked = Kept[int, int](most=10), []

    def fail(_):
        raise ValueError

    with pytest.raises(ValueError):
        kept.look_up([1], fail)
    assert kept.look_up([1], finder(asked)) == {1: 2}


def test_the_oldest_go_when_it_weighs_too_much():
    kept, asked = Kept[int, int](most=10, weigh=lambda value: value), []
    for each in (1, 2, 3):  # they weigh 2, 4 and 6
        kept.look_up([each], finder(asked))
    kept.look_up([3, 2], finder(asked))
    assert asked == [[1], [2], [3]]
    kept.look_up([1], finder(asked))
    assert asked == [[1], [2], [3], [1]]
    assert kept.look_up([100], finder(asked)) == {100: 200}, "what weighs more than all is found, and not kept"
    kept.look_up([100], finder(asked))
    assert asked[-2:] == [[100], [100]]


def test_nothing_is_kept_for_long():
    now = [100.0]
    kept, asked = Kept[int, int](most=10, seconds=5, clock=lambda: now[0]), []
    kept.look_up([1], finder(asked))
    now[0] += 5
    kept.look_up([1], finder(asked))
    assert asked == [[1]]
    now[0] += 0.1
    kept.look_up([1], finder(asked))
    assert asked == [[1], [1]]
