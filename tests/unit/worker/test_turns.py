"""Turns: what is asked for while somebody waits is done by who waits."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.worker.turns import Turns
from tests.patience import eventually


def test_what_is_asked_for_while_one_waits_is_left_to_it():
    turns, go_on, began = Turns(0), threading.Event(), []

    def take():
        with turns.taken() as is_ours:
            if is_ours:
                began.append(1)
                go_on.wait(10)
            return is_ours

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(take)
        eventually(lambda: began)
        second = pool.submit(take)
        eventually(turns._waits.locked)
        assert [take() for _ in range(3)] == [False] * 3
        assert not second.done()
        go_on.set()
        assert (first.result(), second.result()) == (True, True)
    assert take()


def test_one_that_is_asked_for_while_another_runs_gets_a_turn_of_its_own():
    """It may be for what the other one did not see."""
    turns, order = Turns(0), []
    with ThreadPoolExecutor(1) as pool:

        def later():
            with turns.taken() as is_ours:
                order.append(is_ours)

        with turns.taken():
            asked = pool.submit(later)
            eventually(turns._waits.locked)
            assert not order
        asked.result()
    assert order == [True]


def test_turns_are_apart_and_the_first_is_at_once():
    turns, began = Turns(0.2), []
    for _ in range(3):
        with turns.taken():
            began.append(turns._began)  # not the clock again: a busy machine may stand still in between
    assert began[0] <= time.monotonic() - 2 * 0.2
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(began))


def test_one_that_fails_keeps_nobody_out():
    turns = Turns(0)

    def fail():
        with turns.taken() as is_ours:
            raise ValueError(is_ours)

    for _ in range(2):
        with pytest.raises(ValueError, match="True"):
            fail()
