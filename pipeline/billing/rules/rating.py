"""What one call costs at one rate: exact until the end, then rounded once.

The order, each step on the result of the one before:

1. A call of zero seconds has no usage. A call shorter than `free_below_seconds`, as it really was, is free:
   neither connect fee nor minimum charge.
2. The seconds are raised to `minimum_seconds`, then to whole increments counted from the end of the first.
3. usage = connect fee + billable seconds * rate per minute / 60.
4. The usage is raised to `minimum_charge`, then lowered to `maximum_charge`.
5. `attempt_fee`, due for every attempt whatever came of it, is added outside those two limits.
6. Rounding, once.

An attempt whose disposition is not billed has no usage at all and costs the attempt fee alone (`rate_attempt`).

A sixtieth is periodic in decimal, so the division comes last, to 40 digits. A `Rate` has at most 9 digits
before the point and 12 behind: any two results which rounding must tell apart differ by more than 1e-15, and
the 40 digits hold the sum to better than 1e-24, so they always round the way the exact fraction would.
"""

from __future__ import annotations

import decimal
from datetime import datetime, time  # noqa: TC003 - msgspec looks them up when it reads a Rate
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from pipeline.calls.rules.phone_numbers import E164_DIGITS
from pipeline.errors import DataError, shown

MONEY_DECIMALS: Final = 12
MONEY_LIMIT: Final = Decimal(1_000_000_000)
SECONDS_LIMIT: Final = 7 * 24 * 3600
WEEK: Final = frozenset(range(1, 8))

_ZERO = Decimal(0)
_MINUTE = Decimal(60)
_EXACT = decimal.Context(prec=40, traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow])


class Rounding(StrEnum):
    """Which way the last digit goes. No amount is negative, so up is also away from zero."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    UP = "up"
    DOWN = "down"


_MODES: Final = MappingProxyType(
    {
        Rounding.HALF_UP: decimal.ROUND_HALF_UP,
        Rounding.HALF_EVEN: decimal.ROUND_HALF_EVEN,
        Rounding.UP: decimal.ROUND_CEILING,
        Rounding.DOWN: decimal.ROUND_FLOOR,
    }
)


class ChargeReason(StrEnum):
    """Why a charge is what it is; an attempt fee may come on top of each."""

    RATED = "rated"
    ZERO_SECONDS = "zero_seconds"
    BELOW_FREE_SECONDS = "below_free_seconds"
    ATTEMPT = "attempt"


class DurationBasis(StrEnum):
    """Which of the dialler's seconds a tariff charges; a hold time that was not sent counts as none."""

    CALL = "call_time"
    CALL_AND_HOLD = "call_time+hold_time"
    ANSWERED = "answered"
    """From pick-up to the end, as a carrier counts: of a provider's tariff alone."""

    def seconds(self, talk: int, hold: int | None, answered: int | None = None) -> int | None:
        """The seconds to charge; None where they are not known, which only those since pick-up may be.

        What was not read from the dialler's API is made of what the record has: it counts nothing before an agent takes
        the call, but the time in the queue. A record with neither says nothing of a call that was picked up.

        >>> DurationBasis.CALL.seconds(60, 5), DurationBasis.CALL_AND_HOLD.seconds(60, 5)
        (60, 65)
        >>> [DurationBasis.ANSWERED.seconds(*call) for call in ((60, 5, 70), (60, 5), (60, None), (0, 5), (0, None))]
        [70, 65, 60, 5, None]

        Args:
            talk: from the agent joining to the end (``call_time``).
            hold: in the queue before that (``hold_time``); None: not sent.
            answered: from pick-up to the end, as the API has it; None: not known.
        """
        if self is DurationBasis.CALL:
            return talk
        if self is DurationBasis.ANSWERED and answered is not None:
            return answered
        seconds = talk + (hold or 0)
        return None if self is DurationBasis.ANSWERED and not seconds else seconds

    @property
    def spent(self) -> str:
        """What happened in those seconds, as a sentence says it."""
        return _SPENT[self]


_SPENT: Final = MappingProxyType(
    {
        DurationBasis.CALL: "talked",
        DurationBasis.CALL_AND_HOLD: "held and talked",
        DurationBasis.ANSWERED: "connected",
    }
)


class Rate(msgspec.Struct, frozen=True, gc=False):
    """What a minute to one prefix costs, how it is counted, and when that holds.

    `prefix` is digits without +, or empty for the default rate. `valid_from` and `valid_to` are half-open. So
    is `time_of_day`, in the tariff's time zone: it may go over midnight, and from a time to the same time is
    all day. `weekdays` (ISO, Monday is 1) name the local day of the call itself, also after midnight.
    """

    prefix: str
    rate_per_minute: Decimal
    connect_fee: Decimal = _ZERO
    first_increment: int = 1
    next_increment: int = 1
    description: str = ""
    minimum_charge: Decimal | None = None
    maximum_charge: Decimal | None = None
    minimum_seconds: int = 0
    free_below_seconds: int = 0
    attempt_fee: Decimal = _ZERO
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    time_of_day: tuple[time, time] | None = None
    weekdays: frozenset[int] | None = None
    id: int | None = None
    network: str = ""
    """Only for numbers ported to it; empty: for any number of the prefix."""

    def __post_init__(self) -> None:
        if self.prefix and not (self.prefix.isascii() and self.prefix.isdecimal()):
            raise DataError("prefix", f"must be digits without +, or empty, got {shown(self.prefix)}")
        if len(self.prefix) > E164_DIGITS:
            raise DataError("prefix", f"must be at most {E164_DIGITS} digits, got {shown(self.prefix)}")
        for field in ("rate_per_minute", "connect_fee", "attempt_fee", "minimum_charge", "maximum_charge"):
            _check_money(field, getattr(self, field))
        _check_seconds("first_increment", self.first_increment, 1)
        _check_seconds("next_increment", self.next_increment, 1)
        _check_seconds("minimum_seconds", self.minimum_seconds, 0)
        _check_seconds("free_below_seconds", self.free_below_seconds, 0)
        if (
            self.minimum_charge is not None
            and self.maximum_charge is not None
            and self.minimum_charge > self.maximum_charge
        ):
            raise DataError("maximum_charge", f"must not be below the minimum, got {self.maximum_charge}")
        _check_validity(self)


def _check_money(field: str, amount: Decimal | None) -> None:
    if amount is None or amount is _ZERO:
        return
    if not amount.is_finite() or not 0 <= amount < MONEY_LIMIT:
        raise DataError(field, f"must be an amount from 0 to {MONEY_LIMIT}, got {amount}")
    if amount != round(amount, MONEY_DECIMALS):
        raise DataError(field, f"must have at most {MONEY_DECIMALS} decimals, got {amount}")


def _check_seconds(field: str, seconds: int, lowest: int) -> None:
    if not lowest <= seconds <= SECONDS_LIMIT:
        raise DataError(field, f"must be from {lowest} to {SECONDS_LIMIT} seconds, got {shown(seconds)}")


def _check_validity(rate: Rate) -> None:
    for field, at in (("valid_from", rate.valid_from), ("valid_to", rate.valid_to)):
        if at is not None and at.utcoffset() is None:
            raise DataError(field, f"must have a time zone, got {at}")
    if rate.valid_from is not None and rate.valid_to is not None and rate.valid_from >= rate.valid_to:
        raise DataError("valid_to", f"must be after valid_from, got {rate.valid_to}")
    if rate.time_of_day is not None and any(at.tzinfo is not None for at in rate.time_of_day):
        raise DataError("time_of_day", "must be local to the tariff, without a time zone of its own")
    if rate.weekdays is not None and not (rate.weekdays and rate.weekdays <= WEEK):
        raise DataError("weekdays", f"must be some of 1 (Monday) to 7 (Sunday), got {sorted(rate.weekdays)}")


class RatedCharge(msgspec.Struct, frozen=True, gc=False):
    """The charge for one call; `explanation.steps_of` says how it came about."""

    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    reason: str


def billable_seconds(talk: int, first: int, next_: int) -> int:
    """Talk time in whole increments, which are counted from the end of the first one.

    >>> billable_seconds(61, 60, 45), billable_seconds(31, 30, 6), billable_seconds(0, 60, 60)
    (105, 36, 0)
    """
    if talk <= 0:
        return 0
    return first + -(-max(0, talk - first) // next_) * next_


def rate_call(rate: Rate, seconds: int, *, rounding: Rounding, decimals: int) -> RatedCharge:
    """The charge for a call of so many seconds; see the module for the order of the steps.

    Args:
        rate: the rate.
        seconds: the duration, on whichever basis.
        rounding: which way the last digit goes.
        decimals: of the amount.
    """
    billable, usage, reason = _usage(rate, seconds)
    return _charge(rate, billable, usage, reason, rounding=rounding, decimals=decimals)


def rate_attempt(rate: Rate, *, rounding: Rounding, decimals: int) -> RatedCharge:
    """The charge for an attempt whose disposition is not billed: the attempt fee and nothing else."""
    return _charge(rate, 0, _ZERO, ChargeReason.ATTEMPT, rounding=rounding, decimals=decimals)


def _charge(
    rate: Rate, billable: int, usage: Decimal, reason: str, *, rounding: Rounding, decimals: int
) -> RatedCharge:
    if rate.attempt_fee:
        usage = _EXACT.add(usage, rate.attempt_fee)
    return RatedCharge(billable, usage, usage.quantize(_quantum(decimals), _MODES[rounding], _EXACT), reason)


def _usage(rate: Rate, duration: int) -> tuple[int, Decimal, ChargeReason]:
    if duration <= 0:
        return 0, _ZERO, ChargeReason.ZERO_SECONDS
    if duration < rate.free_below_seconds:
        return 0, _ZERO, ChargeReason.BELOW_FREE_SECONDS
    least = max(duration, rate.minimum_seconds)
    seconds = billable_seconds(least, rate.first_increment, rate.next_increment)
    usage = price_of(rate, seconds)
    if rate.minimum_charge is not None and usage < rate.minimum_charge:
        usage = rate.minimum_charge
    if rate.maximum_charge is not None and usage > rate.maximum_charge:
        usage = rate.maximum_charge
    return seconds, usage, ChargeReason.RATED


def price_of(rate: Rate, seconds: int) -> Decimal:
    """The connect fee and so many billable seconds, exact to 40 digits: what comes before every limit and fee."""
    sixtyfold = _EXACT.fma(rate.rate_per_minute, seconds, _EXACT.multiply(rate.connect_fee, _MINUTE))
    return _EXACT.divide(sixtyfold, _MINUTE)


@lru_cache(maxsize=32)
def _quantum(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)
