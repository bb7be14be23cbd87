"""How far a file's clock is from ours: the difference that most lines and calls to the same number have in common.

Each line is compared with each of our calls to its number that began within 26 hours of it. Where one clock is off,
the right pairs all have about the same difference, and the wrong ones have any. So the differences are counted by the
second, and those within a quarter of a minute of each other taken together: a carrier may stamp the set-up or the
pick-up of a call, and calls ring for different times. The fullest such window is the offset, and its middle value is
what is taken off.

A file in local time that is read with a fixed offset has two of them, an hour apart, one before and one after the
clocks changed. Both are found, and the instant between them.

Nothing is guessed: where another window is nearly as full, or the fullest holds too few of the lines, it is
ambiguous.
"""

from __future__ import annotations

import statistics
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

SEARCHED: Final = 26 * 3600
"""Seconds: the zones of the world are up to 26 hours apart."""
NEAR: Final = 15
"""Seconds: differences so far from the middle of a window are still in it."""
APART: Final = 60
"""Seconds: what is nearer to the best window is no other one."""
SECONDS_ALIKE: Final = 60
"""A line and a call whose durations differ by more are no pair: that much is a minute's rounding up."""
LEAST_LINES: Final = 5
"""Fewer lines that agree show nothing."""
LEAST_SHARE: Final = 0.3
"""Of the lines that could be compared, so many must agree."""
RUNNER_UP_AT_MOST: Final = 0.8
"""Of the lines in the best window, so many may be in another one."""
CLOCK_CHANGE: Final = 3600
"""Seconds that daylight saving moves a clock."""
OWN_SHARE: Final = 0.8
"""In each part of a period with two offsets, so much of what has either has its own."""
LINES_A_NUMBER: Final = 20
CALLS_A_LINE: Final = 200
"""Of a number that is called all day, so much is compared."""


class AmbiguousOffsetError(PipelineError):
    """It cannot be told how far the file's clock is from ours."""


class Part(NamedTuple):
    """An offset, and from when on it holds by the file's clock."""

    since: int | None
    """Seconds since 1970 as the file has them; None: from the beginning."""
    seconds: int
    """What is to be taken off the file's times."""


class Offset(NamedTuple):
    """How far a file's clock is ahead of ours."""

    parts: tuple[Part, ...]
    """One; or two an hour apart where its clock was changed."""
    compared: int = 0
    """Lines with a call to the same number within 26 hours."""
    agreeing: int = 0
    """Of those, how many have this offset."""
    runner_up: int | None = None
    """Another difference in seconds, the next common one, and how many have that."""
    runner_up_agreeing: int = 0
    given: bool = False
    """Whether somebody said it, so that it was not looked for."""

    @property
    def share(self) -> float | None:
        """How much of what could be compared agrees, up to 1; None when nothing could be compared."""
        return None if not self.compared else min(1.0, self.agreeing / self.compared)

    def at(self, instant: int) -> tuple[int, ...]:
        """The offsets of a line by its own time: first the one of its part; near a change of the clock the other too.

        >>> two = Offset((Part(None, 3600), Part(90_000, 0)))
        >>> two.at(0), two.at(88_000), two.at(200_000)
        ((3600,), (3600, 0), (0,))
        """
        if len(self.parts) == 1:
            return (self.parts[0].seconds,)
        before, after = self.parts
        assert after.since is not None
        own, other = (before, after) if instant < after.since else (after, before)
        return (own.seconds, other.seconds) if abs(instant - after.since) <= 2 * CLOCK_CHANGE else (own.seconds,)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "parts": [part._asdict() for part in self.parts],
            "compared": self.compared,
            "agreeing": self.agreeing,
            "share": None if self.share is None else round(self.share, 4),
            "runner_up": self.runner_up,
            "runner_up_agreeing": self.runner_up_agreeing,
            "given": self.given,
        }


class Differences:
    """The differences of a file, number by number."""

    def __init__(self) -> None:
        self.compared = 0
        self._at = array("q")
        self._by = array("i")

    def add(self, lines: Sequence[tuple[int, int]], calls: Sequence[tuple[int, int]]) -> None:
        """Compare what there is of one number.

        Args:
            lines: when each began by the file's clock, in seconds since 1970, and how many seconds it lasted.
            calls: the same of our calls, by time.
        """
        begun = [at for at, _ in calls]
        for at, seconds in lines[:: -(-len(lines) // LINES_A_NUMBER)] if lines else ():
            first, last = bisect_left(begun, at - SEARCHED), bisect_right(begun, at + SEARCHED)
            met = False
            for begin, lasted in calls[first : min(last, first + CALLS_A_LINE)]:
                if abs(seconds - lasted) <= SECONDS_ALIKE:
                    self._at.append(at)
                    self._by.append(at - begin)
                    met = True
            self.compared += met

    def offset(self) -> Offset:
        """What they have in common.

        Returns:
            No offset (0 of 0) when no line could be compared.

        Raises:
            AmbiguousOffsetError: nothing clearly, with the figures and what to do.
        """
        if not self.compared:
            return Offset((Part(None, 0),))
        windows = _Windows(self._by)
        fullest = windows.fullest()
        assert fullest is not None
        best = windows.middle(fullest)
        agreeing = windows.count(best)
        two = self._two_parts(windows, best)
        taken = [best] if two is None else [part.seconds for part in two]
        runner_up = windows.fullest(but=taken)
        other = 0 if runner_up is None else windows.count(runner_up)
        found = Offset(two or (Part(None, best),), self.compared, agreeing, runner_up, other)
        if two is not None:
            found = found._replace(agreeing=sum(windows.count(seconds) for seconds in taken))
        _refuse_ambiguous(found)
        return found

    def _two_parts(self, windows: _Windows, best: int) -> tuple[Part, Part] | None:
        """Whether another offset an hour away has a part of the period to itself."""
        for about in (best - CLOCK_CHANGE, best + CLOCK_CHANGE):
            other = windows.middle(about)
            if abs(abs(other - best) - CLOCK_CHANGE) > NEAR or windows.count(other) < LEAST_LINES:
                continue
            if (parts := self._parts(best, other)) is not None:
                return parts
        return None

    def _parts(self, best: int, other: int) -> tuple[Part, Part] | None:
        marked = sorted(
            (at, abs(by - other) <= NEAR)
            for at, by in zip(self._at, self._by, strict=True)
            if abs(by - best) <= NEAR or abs(by - other) <= NEAR
        )
        others = sum(is_other for _, is_other in marked)
        bests = len(marked) - others
        # At each place: how many have the first offset before it and the second after, or the other way round.
        before_other = right = 0
        place, first_is_other, most = 0, False, -1
        for number, (_, is_other) in enumerate(marked):
            for other_first in (False, True):
                before = before_other if other_first else number - before_other
                right = before + (bests - (number - before_other) if other_first else others - before_other)
                if right > most:
                    place, first_is_other, most = number, other_first, right
            before_other += is_other
        parts = (marked[:place], marked[place:])
        for part, is_other in zip(parts, (first_is_other, not first_is_other), strict=True):
            own = sum(each is is_other for _, each in part)
            if own < LEAST_LINES or own < OWN_SHARE * len(part):
                return None
        first, second = (other, best) if first_is_other else (best, other)
        return Part(None, first), Part(marked[place][0], second)


class _Windows:
    """How many differences lie near each second of the 52 hours."""

    def __init__(self, differences: Sequence[int]) -> None:
        self._counts = [0] * (2 * SEARCHED + 1)
        for by in differences:
            self._counts[by + SEARCHED] += 1
        sums = self._sums = [0]
        for count in self._counts:
            sums.append(sums[-1] + count)

    def count(self, center: int) -> int:
        """How many lie within a window's reach of a difference."""
        first, after = self._bounds(center)
        return self._sums[after] - self._sums[first]

    def middle(self, center: int) -> int:
        """The middle value of those near a difference; itself where there are none."""
        first, after = self._bounds(center)
        values = [place - SEARCHED for place in range(first, after) for _ in range(self._counts[place])]
        return statistics.median_low(values) if values else center

    def fullest(self, but: Sequence[int] = ()) -> int | None:
        """Where the most lie close together, but not near some; of several such places the one nearest to 0.

        None where there is no other.
        """
        centers = (
            place - SEARCHED
            for place, count in enumerate(self._counts)
            if count and all(abs(place - SEARCHED - each) > APART for each in but)
        )
        return max(centers, key=lambda center: (self.count(center), -abs(center), center), default=None)

    def _bounds(self, center: int) -> tuple[int, int]:
        place = center + SEARCHED
        size = len(self._counts)
        return min(size, max(0, place - NEAR)), min(size, max(0, place + NEAR + 1))


def _refuse_ambiguous(found: Offset) -> None:
    said = f"{found.agreeing:,} of {found.compared:,} lines agree on {signed(found.parts[0].seconds)}"
    if found.agreeing < LEAST_LINES and abs(found.parts[0].seconds) > NEAR:
        raise AmbiguousOffsetError(f"the clock of the file cannot be told: only {said}, and {LEAST_LINES} are needed")
    if found.share is not None and found.share < LEAST_SHARE:
        raise AmbiguousOffsetError(
            f"the clock of the file cannot be told: only {said}, and {LEAST_SHARE:.0%} of them are needed"
        )
    if found.runner_up is not None and found.runner_up_agreeing > RUNNER_UP_AT_MOST * found.agreeing:
        raise AmbiguousOffsetError(
            f"the clock of the file cannot be told: {said}, and {found.runner_up_agreeing:,} on "
            f"{signed(found.runner_up)}, which is more than {RUNNER_UP_AT_MOST:.0%} as many"
        )


def signed(seconds: int) -> str:
    """An offset as a person reads it.

    >>> signed(7203), signed(-3), signed(0)
    ('+2:00:03', '-0:00:03', '+0:00:00')
    """
    minutes, rest = divmod(abs(seconds), 60)
    return f"{'-' if seconds < 0 else '+'}{minutes // 60}:{minutes % 60:02}:{rest:02}"


def thresholds() -> dict[str, float]:
    """What decides, for the record of a run."""
    return {
        "searched_seconds": SEARCHED,
        "near_seconds": NEAR,
        "apart_seconds": APART,
        "seconds_alike": SECONDS_ALIKE,
        "least_lines": LEAST_LINES,
        "least_share": LEAST_SHARE,
        "runner_up_at_most": RUNNER_UP_AT_MOST,
        "own_share": OWN_SHARE,
    }
