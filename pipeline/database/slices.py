"""Looking for what may match few of many: in slices, until there is enough of it, and no longer than a reader waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
P = TypeVar("P")

LOOK_SECONDS: Final = 2.0
"""How long to go on from slice to slice before what was found is all there is to show."""


def look_in_slices(
    look: Callable[[P | None, int, int], tuple[Sequence[T], P | None]],
    place: P | None,
    limit: int,
    *,
    size: int,
    next_size: Callable[[int, int, int], int],
    seconds: float,
) -> tuple[list[T], P | None]:
    """What is found, and where looking stopped before it came to the end; None: it did, or found enough.

    Args:
        look: at a slice: from which place on, how much to look at, and the most to find. It returns what was found, and
            the last that was looked at; None: there is no more.
        place: where to begin; None: at the beginning.
        limit: how much is enough.
        size: of the first slice.
        next_size: of the next one, by the size of the last, how much was looked at and how much was found so far.
        seconds: how long to go on.
    """
    ends = time.monotonic() + seconds
    found: list[T] = []
    looked_at = 0
    while True:
        some, place = look(place, size, limit - len(found))
        found += some
        if len(found) >= limit or place is None:
            return found, None
        if time.monotonic() >= ends:
            return found, place
        looked_at += size
        size = next_size(size, looked_at, len(found))
