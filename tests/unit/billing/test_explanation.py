"""A charge in sentences: each step with its figures, in the order in which it was worked out."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.billing.rules.explanation import steps_of
from pipeline.billing.rules.rating import DurationBasis, Rate, Rounding, rate_attempt, rate_call

R60 = Decimal("0.60")
HALF_UP = Rounding.HALF_UP


def steps(rate: Rate, seconds: int, basis: DurationBasis = DurationBasis.CALL) -> tuple[str, ...]:
    charge = rate_call(rate, seconds, rounding=HALF_UP, decimals=2)
    return steps_of(rate, seconds, charge, rounding=HALF_UP, decimals=2, basis=basis)


def test_the_steps_explain_the_sum() -> None:
    """A person can follow the charge line by line."""
    rate = Rate(
        "27",
        R60,
        connect_fee=Decimal("0.20"),
        first_increment=60,
        minimum_seconds=61,
        maximum_charge=Decimal("0.70"),
        attempt_fee=Decimal("0.01"),
    )
    assert steps(rate, 5) == (
        "5 s talked",
        "at least 61 s are charged",
        "in increments of 60/1: 61 s",
        "connect fee 0.20 + 61 s * 0.60 / 60 s = 0.81",
        "lowered to the maximum charge 0.70",
        "attempt fee 0.01",
        "rounded half_up to 2 decimals: 0.71",
    )


def test_a_minimum_charge_is_said() -> None:
    """What was raised to it, and to what."""
    assert steps(Rate("", R60, minimum_charge=Decimal("0.50")), 10) == (
        "10 s talked",
        "in increments of 1/1: 10 s",
        "10 s * 0.60 / 60 s = 0.10",
        "raised to the minimum charge 0.50",
        "rounded half_up to 2 decimals: 0.50",
    )


@pytest.mark.parametrize(
    ("seconds", "first"),
    [
        (0, "no seconds held and talked, so no usage is charged"),
        (4, "4 s held and talked, and calls below 5 s are free"),
    ],
)
def test_what_is_free_says_why(seconds: int, first: str) -> None:
    """In the words of the seconds that the tariff counts."""
    said = steps(Rate("", R60, free_below_seconds=5), seconds, DurationBasis.CALL_AND_HOLD)
    assert said == (first, "rounded half_up to 2 decimals: 0.00")


def test_an_attempt_is_its_fee() -> None:
    """Nothing is said of seconds."""
    rate = Rate("", R60, attempt_fee=Decimal("0.013"))
    attempt = rate_attempt(rate, rounding=HALF_UP, decimals=2)
    said = steps_of(rate, 12, attempt, rounding=HALF_UP, decimals=2, basis=DurationBasis.CALL)
    assert said == ("attempt fee 0.013", "rounded half_up to 2 decimals: 0.01")
