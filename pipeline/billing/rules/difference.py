"""What a rerating would change: for a call, and for all of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged
from pipeline.billing.rules.sides import Side


class Outcome(NamedTuple):
    """What billing looked at in a call, and what came of it."""

    call: Unbilled
    """With the revision its next line would have."""
    amount: Decimal | None
    """The charge in force; None when the call is not charged."""
    currency: str | None
    why_not: str | None = None
    """Why it is not charged; None too when nothing was decided about it, which only the provider's side has."""


_ZERO = Decimal(0)


REASONS_KEPT: Final = 10


class Decided(NamedTuple):
    """A call with what came of it before, and what it comes to now."""

    before: Outcome
    after: Line | Uncharged | None
    """None when it cannot be rated now; then it keeps what it has."""
    why_not: str = ""
    side: Side = Side.CLIENT

    @property
    def changes(self) -> bool:
        """Whether amount, currency or the outcome as such differ.

        Another reason for the same is no change, but on the provider's side, where it says what is still missing.
        """
        if self.after is None:
            return False
        if isinstance(self.after, Line):
            return (self.after.amount, self.after.currency) != (self.before.amount, self.before.currency)
        if self.side is Side.PROVIDER and self.before.amount is None:
            return self.after.reason != self.before.why_not
        return self.before.amount is not None


@dataclass(slots=True)
class Difference:
    """What rerating means for one campaign in one currency."""

    calls: int = 0
    """Calls compared; one whose currency changes counts in the currency it had."""
    changed: int = 0
    unratable: int = 0
    """Calls that cannot be rated now, most often for want of a rate: they keep what they have."""
    before: Decimal = _ZERO
    after: Decimal = _ZERO

    @property
    def difference(self) -> Decimal:
        """How much more is charged."""
        return self.after - self.before


@dataclass(slots=True)
class Comparison:
    """The differences, by campaign and currency; a campaign of which nothing is charged has the currency ``""``."""

    differences: defaultdict[tuple[str, str], Difference] = field(default_factory=lambda: defaultdict(Difference))
    reasons: list[str] = field(default_factory=list)
    """Why calls cannot be rated: the first few."""

    @property
    def changed(self) -> int:
        """Calls that come to something else."""
        return sum(each.changed for each in self.differences.values())

    @property
    def unratable(self) -> int:
        """Calls that cannot be rated now."""
        return sum(each.unratable for each in self.differences.values())

    def add(self, decided: Decided) -> None:
        """Count a call."""
        before, after = decided.before, decided.after
        campaign, amount = before.call.campaign_ref, before.amount or _ZERO
        new = after.currency if isinstance(after, Line) else ""
        each = self.differences[campaign, before.currency or new]
        each.calls += 1
        each.changed += decided.changes
        each.before += amount
        if after is None:
            each.unratable += 1
            each.after += amount
            if len(self.reasons) < REASONS_KEPT:
                self.reasons.append(decided.why_not)
        elif isinstance(after, Line):
            self.differences[campaign, new].after += after.amount
