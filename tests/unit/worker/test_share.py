"""A share: who worked rests, all threads together, as long as somebody else is to come first."""

from __future__ import annotations

import pytest

from pipeline.worker.share import LOOK_SECONDS, Share


class Machine:
    """Ten processors whose time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.worked, self.wanted, self.asked = 100.0, 0.0, True, 0
        self.over_at = float("inf")
        self.share = Share(
            0.01,
            self._is_wanted,
            processors=10,
            clock=lambda: self.now,
            worked=lambda: self.worked,
            sleep=self._sleep,
        )
        self.share.rest(until=self.now)

    def _is_wanted(self) -> bool:
        self.asked += 1
        return self.wanted and self.now < self.over_at

    def _sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def rested(self, worked: float, *, most: float = 60.0) -> float:
        """How long a thread rests after so much work."""
        self.worked += worked
        began = self.now
        self.share.rest(until=began + most)
        return self.now - began


def test_who_worked_rests_in_proportion():
    """A hundredth of ten processors: ten seconds for each that was worked, and nothing for none."""
    machine = Machine()
    assert [machine.rested(worked) for worked in (0.1, 0.0, 0.2)] == pytest.approx([1.0, 0.0, 2.0])


def test_what_was_not_rested_is_rested_the_next_time():
    machine = Machine()
    assert machine.rested(0.5, most=2.0) == pytest.approx(2.0)
    assert machine.rested(0.0) == pytest.approx(3.0)


def test_threads_rest_for_each_other():
    machine = Machine()
    machine.worked += 0.1
    machine.share.rest(until=machine.now)  # no time to rest, as if another thread did
    assert machine.rested(0.1) == pytest.approx(2.0)


def test_nobody_rests_while_nobody_else_is_to_come_first():
    machine = Machine()
    machine.over_at = machine.now
    machine.now += LOOK_SECONDS
    assert [machine.rested(3.0) for _ in range(5)] == [0.0] * 5
    machine.over_at = float("inf")
    machine.now += LOOK_SECONDS
    assert machine.rested(0.1) == pytest.approx(1.0), "and what was worked then is forgotten"


def test_a_rest_ends_soon_after_the_reason_for_it():
    machine = Machine()
    machine.over_at = machine.now + 1.0
    assert machine.rested(10.0) == pytest.approx(1.0, abs=LOOK_SECONDS)
    assert machine.rested(0.0) == 0.0


def test_it_is_asked_now_and_then():
    machine = Machine()
    machine.asked = 0
    machine.over_at = machine.now
    for _ in range(100):
        machine.now += LOOK_SECONDS / 10
        machine.rested(0.001)
    assert machine.asked <= 11
