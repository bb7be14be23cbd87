"""Which line of a provider's file is which of our calls, number by number and one to one.

A line is compared with a call within a window of at most 30 seconds round the call's beginning, and of less than half
of what lies between the call and its neighbours to the same number. So no two windows overlap: a line is near one
call at most, and a call that was tried again 40 seconds later cannot take the other one's line. Only calls that began
in the same second share their window, and there the durations decide.

Of several lines near one call the nearest has it, by |time| + 2 |duration|. What is left is a line listed twice,
where it says what a matched one does; or weak, where one line and one call to a number are left within twelve hours
of each other.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from pipeline.accounts.rules.offset import Offset

WINDOW: Final = 30
"""Seconds to either side of a call, at most."""
DURATION_WEIGHS: Final = 2
TWIN_SECONDS: Final = 1
"""Two lines that differ by no more, in time and in duration, are the same call."""
WEAK_WITHIN: Final = 12 * 3600
"""Seconds between a line and a call that have nothing but the number in common."""


class There(NamedTuple):
    """A line of the provider's file."""

    number: str
    at: int
    """When the call began by the file's clock, in seconds since 1970."""
    line_id: int
    seconds: int
    billed_seconds: int | None
    amount: Decimal
    currency: str


class Here(NamedTuple):
    """A call of ours, and what it should cost by the provider's tariff."""

    number: str
    at: int
    """When it was dialled, in seconds since 1970."""
    call_id: int
    seconds: int
    """From picking up to the end, as far as it is known."""
    ours: bool
    """Whether it is in the comparison: of that provider and of the period. Others are there to tell what a line is."""
    answered: bool
    """Whether it was picked up, so that a carrier charges it."""
    billable_seconds: int | None
    amount: Decimal | None
    """None: nothing is charged for it on the provider's side."""
    currency: str | None
    unrounded: Decimal | None
    version_id: int | None
    rate_line: int | None
    prefix: str | None
    why: str | None
    """Why nothing is charged."""


class Pair(NamedTuple):
    """A line and a call that are the same."""

    there: There
    here: Here
    apart: int
    """Seconds by which the line is later, the offset taken off."""
    weak: bool = False


class Matched(NamedTuple):
    """What becomes of the lines and calls of a number."""

    pairs: list[Pair]
    twins: list[tuple[There, There]]
    """Lines that are listed again, each with the one that stands for both."""
    lines: list[There]
    calls: list[Here]
    """Those left over."""


def match(lines: Sequence[There], calls: Sequence[Here], offset: Offset) -> Matched:
    """Match what there is of one number; in whatever order it is given, the result is the same.

    Args:
        lines: the file's, each with the same number.
        calls: ours to that number.
        offset: how far the file's clock is ahead of ours.
    """
    lines, calls = sorted(lines), sorted(calls)  # by number, which is the same, time and id
    if (beyond_doubt := _in_step(lines, calls, offset)) is not None:
        return Matched(beyond_doubt, [], [], [])
    pairs = _strong(lines, calls, offset)
    taken_lines = {pair.there.line_id for pair in pairs}
    taken_calls = {pair.here.call_id for pair in pairs}
    left = [line for line in lines if line.line_id not in taken_lines]
    calls_left = [call for call in calls if call.call_id not in taken_calls]
    twins = list(_twins([pair.there for pair in pairs], left))
    again = {line.line_id for line, _ in twins}
    left = [line for line in left if line.line_id not in again]
    weak = list(_weak(left, calls_left, offset)) if left and calls_left else []
    weak_lines, weak_calls = {pair.there.line_id for pair in weak}, {pair.here.call_id for pair in weak}
    return Matched(
        pairs + weak,
        twins,
        [line for line in left if line.line_id not in weak_lines],
        [call for call in calls_left if call.call_id not in weak_calls],
    )


def _in_step(lines: Sequence[There], calls: Sequence[Here], offset: Offset) -> list[Pair] | None:
    """The pairs where each line lies within its call's window and no other: so it is for most numbers."""
    if len(lines) != len(calls) or len(offset.parts) > 1:
        return None
    ahead = offset.parts[0].seconds
    pairs = []
    for line, call, reach in zip(lines, calls, windows([call.at for call in calls]), strict=True):
        apart = line.at - ahead - call.at
        if not reach or not -reach <= apart <= reach:
            return None
        pairs.append(Pair(line, call, apart))
    return pairs


def windows(begun: Sequence[int]) -> list[int]:
    """How far round each call a line may lie: less than half of the way to its neighbours, and at most 30 seconds.

    >>> windows([0, 40, 41, 1_000]), windows([5])
    ([19, 0, 0, 30], [30])

    Args:
        begun: when the calls began, in order, in seconds.
    """
    if len(begun) <= 1:
        return [WINDOW] * len(begun)
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]
    far = 2 * WINDOW + 1
    return [
        max(0, (min(before, after, far) - 1) // 2) for before, after in zip([far, *gaps], [*gaps, far], strict=True)
    ]


def _strong(lines: Sequence[There], calls: Sequence[Here], offset: Offset) -> list[Pair]:
    begun = [call.at for call in calls]
    reach = windows(begun)
    candidates = sorted(
        (abs(apart) + DURATION_WEIGHS * abs(line.seconds - calls[place].seconds), abs(apart), number, place, apart)
        for number, line in enumerate(lines)
        for place, apart in _near(line, begun, reach, offset)
    )
    pairs: list[Pair] = []
    lines_taken: set[int] = set()
    calls_taken: set[int] = set()
    for _, _, number, place, apart in candidates:
        if number not in lines_taken and place not in calls_taken:
            lines_taken.add(number)
            calls_taken.add(place)
            pairs.append(Pair(lines[number], calls[place], apart))
    return pairs


def _near(line: There, begun: Sequence[int], reach: Sequence[int], offset: Offset) -> Iterator[tuple[int, int]]:
    for seconds in offset.at(line.at):
        at = line.at - seconds
        place = bisect_left(begun, at - WINDOW)
        while place < len(begun) and begun[place] <= at + WINDOW:
            if abs(at - begun[place]) <= reach[place]:
                yield place, at - begun[place]
            place += 1


def _twins(matched: Sequence[There], left: Sequence[There]) -> Iterator[tuple[There, There]]:
    standing: dict[int, list[There]] = {}
    for line in matched:
        standing.setdefault(line.at, []).append(line)
    for line in left:
        near = (
            each for at in range(line.at - TWIN_SECONDS, line.at + TWIN_SECONDS + 1) for each in standing.get(at, ())
        )
        twin = next((each for each in near if abs(each.seconds - line.seconds) <= TWIN_SECONDS), None)
        if twin is None:
            standing.setdefault(line.at, []).append(line)
        else:
            yield line, twin


def _weak(lines: Sequence[There], calls: Sequence[Here], offset: Offset) -> Iterator[Pair]:
    """One of each that are alone with each other; a call on which nothing is due is none that a line may be about."""
    chargeable = [call for call in calls if call.ours and (call.amount is not None or call.answered)]
    begun = [call.at for call in chargeable]
    listed = sorted(line.at - offset.at(line.at)[0] for line in lines)
    for line in lines:
        at = line.at - offset.at(line.at)[0]
        first = bisect_left(begun, at - WEAK_WITHIN)
        if bisect_right(begun, at + WEAK_WITHIN) - first == 1:
            call = chargeable[first]
            if bisect_right(listed, call.at + WEAK_WITHIN) - bisect_left(listed, call.at - WEAK_WITHIN) == 1:
                yield Pair(line, call, at - call.at, weak=True)


def thresholds() -> dict[str, int]:
    """What decides, for the record of a run."""
    return {
        "window_seconds": WINDOW,
        "duration_weighs": DURATION_WEIGHS,
        "twin_seconds": TWIN_SECONDS,
        "weak_within_seconds": WEAK_WITHIN,
    }
