"""What a call costs under a tariff, or why nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.billing.rules.rating import ChargeReason, rate_attempt, rate_call
from pipeline.calls.rules.disposition import ATTEMPTED, BILLABLE_BY_DEFAULT, INBOUND_NOT_BILLED, not_billed
from pipeline.calls.rules.erased import kept_digits
from pipeline.errors import NoRateError, NoSecondsError, cut

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from pipeline.billing.rules.rating import Rate, RatedCharge
    from pipeline.billing.rules.terms import LoadedTariff


class Unbilled(NamedTuple):
    """What billing looks at."""

    call_id: int
    campaign_ref: str
    client_number: str | None
    client_number_is_e164: bool
    direction: str
    dialed_at: datetime
    talk_seconds: int
    disposition: str
    revision: int = 1
    hold_seconds: int | None = None
    dial_number: str | None = None
    dial_number_is_e164: bool = False
    source: str = ""
    """The dialler; of the provider's side only, as what follows."""
    answered_seconds: int | None = None
    """From pick-up to the end, as the dialler's API has it; None: not known."""
    network: str = ""
    """Which the number was ported to when it was called; empty: none."""


class LineKind(StrEnum):
    """What a line of the ledger is."""

    CHARGE = "charge"
    REVERSAL = "reversal"

    @property
    def sign(self) -> int:
        """What it counts for: a charge once, and its reversal takes that back."""
        return 1 if self is LineKind.CHARGE else -1


_CHARGE: Final = LineKind.CHARGE.value  # a plain text, which the driver writes without a look at its class


class Line(NamedTuple):
    """One line of the ledger; fields are its columns."""

    call_id: int
    kind: str
    revision: int
    tariff_version_id: int
    prefix: str
    rate_per_minute: Decimal
    connect_fee: Decimal
    talk_seconds: int
    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    currency: str
    reason: str
    rate_line: int | None = None
    rated_seconds: int | None = None
    rerate_id: int | None = None


class Uncharged(NamedTuple):
    """A call that costs nothing, and why."""

    call_id: int
    reason: str


class Priced(NamedTuple):
    """What a call comes to under a tariff."""

    number: str
    """The number that was rated; empty when it was withheld."""
    rate: Rate | None
    charge: RatedCharge | None
    """None when the tariff does not charge for such a call at all."""
    why: str
    """Why the charge is what it is, or why there is none."""

    @property
    def is_charged(self) -> bool:
        """Whether it belongs in the ledger: seconds were charged, or there is an amount."""
        return self.charge is not None and bool(self.charge.billable_seconds or self.charge.amount)


def decide(call: Unbilled, tariff: LoadedTariff | None) -> Line | Uncharged:
    """What one call is charged, or why nothing.

    Raises:
        NoRateError: nothing in the tariff covers the call.
        NoSecondsError: its seconds on the tariff's duration basis are not known.
    """
    if _never_costs(call, tariff):
        return Uncharged(call.call_id, not_billed(call.disposition))
    priced = price(call, tariff)
    if tariff is None or priced.rate is None or priced.charge is None or not priced.is_charged:
        return Uncharged(call.call_id, priced.why)
    return Line(
        call_id=call.call_id,
        kind=_CHARGE,
        revision=call.revision,
        tariff_version_id=tariff.version_id,
        prefix=priced.rate.prefix,
        rate_per_minute=priced.rate.rate_per_minute,
        connect_fee=priced.rate.connect_fee,
        talk_seconds=call.talk_seconds,
        billable_seconds=priced.charge.billable_seconds,
        unrounded=priced.charge.unrounded,
        amount=priced.charge.amount,
        currency=tariff.currency,
        reason=priced.charge.reason,
        rate_line=priced.rate.id,
        rated_seconds=tariff.duration_basis.seconds(call.talk_seconds, call.hold_seconds, call.answered_seconds),
    )


def why_unknown(error: Exception, tariff: LoadedTariff) -> str:
    """Why it is not known what the provider charges for a call, kept with it in the place of a failure.

    Args:
        error: what `decide` raised.
        tariff: the provider's.
    """
    if isinstance(error, NoRateError):
        return f"no rate for {cut(error.number) or 'a withheld number'} in tariff {tariff.name}"
    if isinstance(error, NoSecondsError):
        return str(error)
    return cut(f"cannot be rated: {type(error).__name__}: {error}", _REASON_CHARACTERS)


_REASON_CHARACTERS: Final = 200


def price(call: Unbilled, tariff: LoadedTariff | None) -> Priced:
    """What one call comes to: by the rate valid when it was dialled, never now (rating rule B.6.3).

    A disposition the tariff does not bill costs the rate's attempt fee, where it has one.

    Raises:
        NoRateError: nothing in the tariff covers the call.
        NoSecondsError: its seconds on the tariff's duration basis are not known.
    """
    number, digits = rated_number(call)
    rate = None if tariff is None else tariff.deck.find(digits, call.dialed_at, call.network)
    if call.disposition not in _billable(tariff):
        fee = _attempt_fee(call, tariff, rate)
        return Priced(number, rate, fee, not_billed(call.disposition))
    if not _direction_is_rated(call, tariff):
        return Priced(number, rate, None, INBOUND_NOT_BILLED)
    seconds = call.talk_seconds if tariff is None else _seconds(call, tariff)
    if tariff is None or rate is None:
        if seconds == 0:
            return Priced(number, None, None, ChargeReason.ZERO_SECONDS.value)
        raise NoRateError(number, call.dialed_at, call.campaign_ref or None, tariff and tariff.name)
    charge = rate_call(rate, seconds, rounding=tariff.rounding, decimals=tariff.decimals)
    return Priced(number, rate, charge, charge.reason)


def rated_number(call: Unbilled) -> tuple[str, str]:
    """The number called and its digits: of an inbound call, the dialler's own; no digits where it is not E.164.

    Of a number that was erased the first digits are there, which say what it is charged by.
    """
    if call.direction == "inbound":
        number, is_e164 = call.dial_number or "", call.dial_number_is_e164
    else:
        number, is_e164 = call.client_number or "", call.client_number_is_e164
    return number, number.removeprefix("+") if is_e164 else kept_digits(number)


def _billable(tariff: LoadedTariff | None) -> frozenset[str]:
    return BILLABLE_BY_DEFAULT if tariff is None else tariff.billable_dispositions


def _never_costs(call: Unbilled, tariff: LoadedTariff | None) -> bool:
    """Whether no rate of the tariff could charge for such a call, so that none need be looked for: most calls."""
    return call.disposition not in _billable(tariff) and not (tariff is not None and tariff.deck.has_attempt_fees)


def _direction_is_rated(call: Unbilled, tariff: LoadedTariff | None) -> bool:
    return call.direction != "inbound" or (tariff is not None and tariff.inbound_rated)


def _seconds(call: Unbilled, tariff: LoadedTariff) -> int:
    seconds = tariff.duration_basis.seconds(call.talk_seconds, call.hold_seconds, call.answered_seconds)
    if seconds is None:
        raise NoSecondsError
    return seconds


def _attempt_fee(call: Unbilled, tariff: LoadedTariff | None, rate: Rate | None) -> RatedCharge | None:
    """What a call that is not billed costs all the same; a call that never left the dialler costs nothing."""
    if tariff is None or rate is None or not rate.attempt_fee:
        return None
    if call.disposition not in ATTEMPTED or not _direction_is_rated(call, tariff):
        return None
    return rate_attempt(rate, rounding=tariff.rounding, decimals=tariff.decimals)
