"""When a subscriber that takes nothing is tried again."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 3_600.0
"""A day of failing costs a few dozen tries; who is back is found within the hour."""


def wait_seconds(misses: int, *, chance: float, asked_for: float | None = None) -> float:
    """How long to wait before the next try: twice as long each time, a quarter more or less, an hour at most.

    Args:
        misses: how often in a row it took nothing, this time included.
        chance: from 0 to 1, for the jitter.
        asked_for: the seconds that the other side asks us to wait, if it does; it has no less, and up to a day.

    >>> [wait_seconds(misses, chance=0.5) for misses in (1, 2, 3, 40)]
    [1.0, 2.0, 4.0, 3600.0]
    >>> wait_seconds(1, chance=0.5, asked_for=120)
    120
    """
    wait = min(FIRST_SECONDS * 2.0 ** min(misses - 1, 20), LONGEST_SECONDS) * (0.75 + chance / 2)
    return wait if asked_for is None else max(wait, min(asked_for, 86_400))
