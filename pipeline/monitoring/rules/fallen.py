"""When a number called from counts as fallen: people pick up far less than they did, as when it is marked as spam."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY: Final = timedelta(days=1)
BEFORE: Final = timedelta(days=14)
"""A day is compared with what was before it."""

FEWEST: Final = 200
"""Attempts of the day, and of the time before, below which a rate says too little."""
FALL_PERCENT: Final = 40
"""By how much of itself the rate has to fall."""


class Answering(NamedTuple):
    """How calls from a number were answered on a day, and before it."""

    dial_number: str
    attempts: int
    answered: int
    attempts_before: int
    answered_before: int

    @property
    def answer_rate(self) -> Decimal | None:
        """Of the day, from 0 to 1; None of no attempts."""
        return _share(self.answered, self.attempts)

    @property
    def answer_rate_before(self) -> Decimal | None:
        """Of the time before, from 0 to 1; None of no attempts."""
        return _share(self.answered_before, self.attempts_before)

    @property
    def fall(self) -> Decimal | None:
        """Which part of its rate before a number lost, less than 0 when it rose; None where there was no rate to lose.

        >>> Answering("+27123456789", 400, 44, 5_000, 1_100).fall
        Decimal('0.5000')
        """
        if not self.attempts or not self.answered_before:
            return None
        kept = Decimal(self.answered * self.attempts_before) / (self.attempts * self.answered_before)
        return round(1 - kept, 4)

    @property
    def has_fallen(self) -> bool:
        """Whether it lost as much as counts, with enough calls on both sides.

        In whole numbers, so that exactly as much is as much.
        """
        if min(self.attempts, self.attempts_before) < FEWEST or not self.answered_before:
            return False
        kept = 100 * self.answered * self.attempts_before
        return kept <= (100 - FALL_PERCENT) * self.answered_before * self.attempts


def fallen(numbers: Iterable[Answering]) -> list[Answering]:
    """Those that have fallen, what fell deepest first."""
    return sorted((each for each in numbers if each.has_fallen), key=lambda each: (-(each.fall or 0), each.dial_number))


def _share(part: int, whole: int) -> Decimal | None:
    return round(Decimal(part) / whole, 4) if whole else None
