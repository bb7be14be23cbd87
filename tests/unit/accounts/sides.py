"""Lines and calls for tests: a good pair by default, changed where the test says so."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pipeline.accounts.rules.classes import RateTerms
from pipeline.accounts.rules.matching import Here, There
from pipeline.accounts.rules.offset import Offset, Part
from pipeline.billing.rules.rating import Rate, Rounding

AT = 1_790_000_000
NONE = Offset((Part(None, 0),))
TERMS = RateTerms(Rate("27", Decimal("0.60"), first_increment=30, next_increment=6, id=2), Rounding.HALF_UP, 2)


def line(line_id: int = 1, at: int = AT, seconds: int = 60, **changes: Any) -> There:
    """A line of 60 seconds at a cent each."""
    amount = changes.pop("amount", "0.60")
    return There("+27820001234", at, line_id, seconds, None, Decimal(amount), "ZAR")._replace(**changes)


def call(call_id: int = 1, at: int = AT, seconds: int = 60, **changes: Any) -> Here:
    """The call of that line: 0.60 a minute in increments of 30 and 6."""
    charge = TERMS.charge(seconds)
    return Here(
        number="+27820001234",
        at=at,
        call_id=call_id,
        seconds=seconds,
        ours=True,
        answered=True,
        billable_seconds=charge.billable_seconds,
        amount=charge.amount,
        currency="ZAR",
        unrounded=charge.unrounded,
        version_id=1,
        rate_line=2,
        prefix="27",
        why=None,
    )._replace(**changes)


def unanswered(call_id: int = 1, at: int = AT, **changes: Any) -> Here:
    """A call that nobody answered and that costs nothing."""
    free = {"amount": None, "currency": None, "unrounded": None, "billable_seconds": None, "why": "zero_seconds"}
    return call(call_id, at, 0, answered=False, **free)._replace(**changes)
