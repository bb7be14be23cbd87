"""Level 1: what the dialler counted against what came, and when a difference is a finding.

The counter of a campaign and the number of its records that came both only grow; how far apart they begin says nothing.
So what counts is how far the counter has run ahead since the two were closest. A reading looks at the counter before
and after it looks at everything that came: the first value is the least that had been counted, the second the most.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

STANDS_FOR: Final = timedelta(minutes=10)
TOLERANCE: Final = timedelta(seconds=30)
"""A reading is not taken to the second."""
WINDOWS: Final = 2
"""A difference is looked at over no fewer windows, each from one reading to the next."""


class Reading(NamedTuple):
    """One look at a campaign's counter and at what came of it."""

    read_at: datetime
    epoch: int
    """Which life of the counter: it is another when the counter began anew."""
    before: int
    """Calls counted, just before what came was looked at."""
    after: int
    """Calls counted, just after."""
    received: int
    """Records that came since this campaign is watched, what is on its way included."""
    base: int
    """The least that the counter was ever ahead, in this life of it."""
    pops: int | None = None
    """How often others have taken from a list on that server."""

    @property
    def short(self) -> int:
        """The calls that must have been lost, or are later than they should be."""
        return max(0, self.before - self.received - self.base)


def next_reading(
    last: Reading | None, *, read_at: datetime, before: int, after: int, received: int, pops: int | None = None
) -> Reading:
    """The reading that follows; a counter that falls was begun anew, and with it the comparison.

    >>> at = datetime(2026, 11, 30)
    >>> first = next_reading(None, read_at=at, before=100, after=103, received=40)
    >>> first.base, first.short
    (63, 0)
    >>> lost = next_reading(first, read_at=at, before=150, after=150, received=80)
    >>> lost.short, next_reading(lost, read_at=at, before=3, after=3, received=81)[1:]
    (7, (1, 3, 3, 81, -78, None))
    """
    ahead = after - received
    if last is None or before < last.after or after < before:
        return Reading(read_at, 0 if last is None else last.epoch + 1, before, after, received, ahead, pops)
    return Reading(read_at, last.epoch, before, after, received, min(last.base, ahead), pops)


class Standing(NamedTuple):
    """A difference that has stood for long enough."""

    calls: int
    since: datetime
    pops: int
    """How often others have taken from a list meanwhile."""


def standing(readings: Sequence[Reading]) -> Standing | None:
    """The difference that stands after these readings of one campaign, the oldest first; None while it may vanish.

    It stands for two windows and ten minutes, and is the least that it was in that time.
    """
    if not readings:
        return None
    last = readings[-1]
    at = len(readings) - 1
    while at >= 0 and readings[at].epoch == last.epoch and readings[at].short:
        at -= 1
    stood = readings[at + 1 :]
    if len(stood) <= WINDOWS or last.read_at - stood[0].read_at < STANDS_FOR - TOLERANCE:
        return None
    recent = [each for each in stood if last.read_at - each.read_at <= STANDS_FOR + TOLERANCE]
    since = stood[0].read_at
    return Standing(min(each.short for each in recent), since, _pops(readings[max(at, 0) :]))


def _pops(readings: Sequence[Reading]) -> int:
    """How much the count of others' commands grew; a server that was restarted counts anew."""
    known = [each.pops for each in readings if each.pops is not None]
    return sum(max(0, later - earlier) for earlier, later in itertools.pairwise(known))


class Sum(NamedTuple):
    """A campaign in a time: what was expected, and where that is."""

    expected: int = 0
    received: int = 0
    late: int = 0
    """Came after that time."""
    missing: int = 0
    unknown: int = 0
    """May still come, or cannot be told any more."""

    def __add__(self, other: object) -> Sum:
        assert isinstance(other, Sum)
        return Sum(*(one + another for one, another in zip(self, other, strict=True)))


def sum_of(first: Reading, last: Reading, newest: Reading, *, stands: int) -> Sum:
    """What became of the calls that a counter counted between two readings of one life of it.

    Args:
        first: where the time begins.
        last: where it ends.
        newest: the last reading of that life of the counter.
        stands: the calls that are found missing as of that.

    >>> at = datetime(2026, 11, 30)
    >>> a, b = Reading(at, 0, 0, 0, 0, 0), Reading(at, 0, 100, 100, 90, 0)
    >>> sum_of(a, b, Reading(at, 0, 140, 140, 136, 0), stands=3)
    Sum(expected=100, received=90, late=6, missing=3, unknown=1)
    """
    expected = max(0, last.before - first.before)
    received = min(expected, max(0, last.received - first.received))
    gap = expected - received
    # What was short before that time is not short of this one.
    gap_now = min(gap, max(0, newest.short - min(first.short, newest.short)))
    missing = min(gap_now, stands)
    return Sum(expected, received, gap - gap_now, missing, gap_now - missing)
