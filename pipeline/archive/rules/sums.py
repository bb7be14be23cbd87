"""What archived calls add up to, by which an archive is held against the database and against itself."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, Self

import msgspec

from pipeline.archive.rules.amounts import EXACT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_NONE: Final = Decimal(0)


class SideSums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One side of the account: each call is charged, not charged for a reason, or waits."""

    charged: int = 0
    not_charged: int = 0
    waiting: int = 0
    billable_seconds: int = 0
    money: dict[str, Decimal] = {}
    """What the charges in force come to, by currency."""

    def __add__(self, other: Self) -> Self:
        """Both together."""
        return type(self)(
            self.charged + other.charged,
            self.not_charged + other.not_charged,
            self.waiting + other.waiting,
            self.billable_seconds + other.billable_seconds,
            {
                currency: EXACT.add(self.money.get(currency, _NONE), other.money.get(currency, _NONE))
                for currency in sorted({*self.money, *other.money})
            },
        )


class Sums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of some calls. Sums are equal when all of their figures are."""

    rows: int = 0
    talk_seconds: int = 0
    client: SideSums = SideSums()
    provider: SideSums = SideSums()

    def __add__(self, other: Self) -> Self:
        """Both together.

        >>> (Sums(rows=1, talk_seconds=61) + Sums(rows=2, talk_seconds=9)).talk_seconds
        70
        """
        return type(self)(
            self.rows + other.rows,
            self.talk_seconds + other.talk_seconds,
            self.client + other.client,
            self.provider + other.provider,
        )

    @property
    def unbalanced(self) -> str | None:
        """The side whose calls are not each in one place; None: both are in order."""
        for name, side in (("client", self.client), ("provider", self.provider)):
            if side.charged + side.not_charged + side.waiting != self.rows:
                return name
        return None


def total(parts: Iterable[Sums]) -> Sums:
    """What parts add up to."""
    whole = Sums()
    for each in parts:
        whole = whole + each
    return whole


def differences(said: Sums, found: Sums) -> Iterator[str]:
    """What two sums differ in, in words.

    >>> list(differences(Sums(rows=2), Sums(rows=3)))
    ['rows 2, found 3']
    """
    for name in ("rows", "talk_seconds"):
        if getattr(said, name) != getattr(found, name):
            yield f"{name} {getattr(said, name)}, found {getattr(found, name)}"
    for side in ("client", "provider"):
        one, other = getattr(said, side), getattr(found, side)
        for name in ("charged", "not_charged", "waiting", "billable_seconds"):
            if getattr(one, name) != getattr(other, name):
                yield f"{side} {name} {getattr(one, name)}, found {getattr(other, name)}"
        for currency in sorted({*one.money, *other.money}):
            here, there = (each.money.get(currency, _NONE) for each in (one, other))
            if here != there:
                yield f"{side} {here:f} {currency}, found {there:f}"
