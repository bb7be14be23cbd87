"""Each call that is to be charged gets its line in the ledger, each other one the reason why not."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.domain.disposition import ATTEMPTED, BILLABLE_BY_DEFAULT, INBOUND_NOT_BILLED, not_billed
from pipeline.domain.errors import NoRateError
from pipeline.domain.rating import ChargeReason, rate_attempt, rate_call
from pipeline.steps.isolation import bug
from pipeline.storage.failures import Failure
from pipeline.storage.ledger import Line, Uncharged, insert_lines, insert_uncharged, unbilled_calls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy import Connection

    from pipeline.domain.rating import Rate, RatedCharge
    from pipeline.steps.tariffs import LoadedTariff
    from pipeline.storage.inbox import Span
    from pipeline.storage.ledger import Unbilled


class Tariffs(Protocol):
    """Where billing gets its tariffs from; `steps.tariffs.TariffCache` is the one of a process."""

    def in_force(self, connection: Connection, campaigns: Collection[str]) -> Mapping[str, int]:
        """The id of the version that rates each campaign's calls; a campaign without a tariff is left out."""

    def version(self, connection: Connection, version_id: int) -> LoadedTariff:
        """A version, ready to rate calls."""


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


def bill(connection: Connection, span: Span, tariffs: Tariffs) -> list[Failure]:
    """Charge calls.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are to be charged.
        tariffs: where the tariff of each campaign comes from.

    Returns:
        The calls that could not be charged, most often for want of a rate.
    """
    lines: list[Line] = []
    free: list[Uncharged] = []
    failures: list[Failure] = []
    for call, tariff in with_tariffs(connection, unbilled_calls(connection, span), tariffs):
        try:
            decision = decide(call, tariff)
        except NoRateError as error:
            failures.append(Failure(call.call_id, "reference", str(error), error_type="NoRateError"))
        except Exception as error:  # noqa: BLE001 - one record's bug must not hold up its batch; it is kept with traceback
            failures.append(bug(call.call_id, error))
        else:
            if isinstance(decision, Line):
                lines.append(decision)
            else:
                free.append(decision)
    insert_lines(connection, sorted(lines, key=lambda line: line.call_id))
    insert_uncharged(connection, sorted(free))
    return failures


def with_tariffs(
    connection: Connection, calls: Iterable[Unbilled], tariffs: Tariffs
) -> Iterator[tuple[Unbilled, LoadedTariff | None]]:
    """Each call with the tariff of its campaign, one tariff after the other, so that one at a time is needed."""
    calls = list(calls)
    in_force = tariffs.in_force(connection, {call.campaign_ref for call in calls})
    calls.sort(key=lambda call: in_force.get(call.campaign_ref, 0))  # stable: of one tariff by id, as they came
    for version_id, same in groupby(calls, key=lambda call: in_force.get(call.campaign_ref, 0)):
        tariff = tariffs.version(connection, version_id) if version_id else None
        for call in same:
            yield call, tariff


def decide(call: Unbilled, tariff: LoadedTariff | None) -> Line | Uncharged:
    """What one call is charged, or why nothing.

    Raises:
        NoRateError: nothing in the tariff covers the call.
    """
    priced = price(call, tariff)
    if tariff is None or priced.rate is None or priced.charge is None or not priced.is_charged:
        return Uncharged(call.call_id, priced.why)
    return Line(
        call_id=call.call_id,
        kind="charge",
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
        rated_seconds=_seconds(call, tariff),
    )


def price(call: Unbilled, tariff: LoadedTariff | None) -> Priced:
    """What one call comes to: by the rate valid when it was dialled, never now (rating rule B.6.3).

    A disposition the tariff does not bill costs the rate's attempt fee, where it has one.

    Raises:
        NoRateError: nothing in the tariff covers the call.
    """
    number, digits = _rated_number(call)
    rate = None if tariff is None else tariff.deck.find(digits, call.dialed_at)
    billable = BILLABLE_BY_DEFAULT if tariff is None else tariff.billable_dispositions
    if call.disposition not in billable:
        fee = _attempt_fee(call, tariff, rate)
        return Priced(number, rate, fee, not_billed(call.disposition))
    if not _direction_is_rated(call, tariff):
        return Priced(number, rate, None, INBOUND_NOT_BILLED)
    seconds = call.talk_seconds if tariff is None else _seconds(call, tariff)
    if tariff is None or rate is None:
        if seconds == 0:
            return Priced(number, None, None, ChargeReason.ZERO_SECONDS.value)
        raise NoRateError(number, call.dialed_at, call.campaign_ref or None, tariff and tariff.name)
    charge = rate_call(rate, seconds, rounding=tariff.rounding, decimals=tariff.decimals, basis=tariff.duration_basis)
    return Priced(number, rate, charge, charge.reason)


def _rated_number(call: Unbilled) -> tuple[str, str]:
    """The number called and its digits: of an inbound call, the dialler's own."""
    if call.direction == "inbound":
        number, is_e164 = call.dial_number or "", call.dial_number_is_e164
    else:
        number, is_e164 = call.client_number or "", call.client_number_is_e164
    return number, number.removeprefix("+") if is_e164 else ""


def _direction_is_rated(call: Unbilled, tariff: LoadedTariff | None) -> bool:
    return call.direction != "inbound" or (tariff is not None and tariff.inbound_rated)


def _seconds(call: Unbilled, tariff: LoadedTariff) -> int:
    return tariff.duration_basis.seconds(call.talk_seconds, call.hold_seconds)


def _attempt_fee(call: Unbilled, tariff: LoadedTariff | None, rate: Rate | None) -> RatedCharge | None:
    """What a call that is not billed costs all the same; a call that never left the dialler costs nothing."""
    if tariff is None or rate is None or not rate.attempt_fee:
        return None
    if call.disposition not in ATTEMPTED or not _direction_is_rated(call, tariff):
        return None
    return rate_attempt(rate, rounding=tariff.rounding, decimals=tariff.decimals)
