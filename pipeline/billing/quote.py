"""Saying beforehand what a call will cost, by the rule that will charge it."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from pipeline.billing.assignment_rows import EVERYTHING, version_ids_in_force
from pipeline.billing.ported_rows import networks_of
from pipeline.billing.provider_assignments import version_ids_of_provider
from pipeline.billing.rate_rows import rates_of
from pipeline.billing.rules.explanation import steps_of
from pipeline.billing.rules.pricing import Unbilled, price
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.rating import DurationBasis
from pipeline.billing.rules.sides import Side
from pipeline.billing.tariff_cache import loaded_tariff
from pipeline.billing.tariff_rows import version_by_id
from pipeline.calls.rules.disposition import Disposition
from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.errors import NoRateError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.billing.rules.pricing import Priced
    from pipeline.billing.rules.rating import Rate
    from pipeline.billing.rules.terms import LoadedTariff
    from pipeline.calls.rules.phone_numbers import Number


class Quote(NamedTuple):
    """What a call costs and why; without a rate where none was needed."""

    prefix: str | None
    tariff: str
    rate_per_minute: Decimal | None
    connect_fee: Decimal | None
    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    currency: str
    steps: tuple[str, ...]


class HypotheticalCall(NamedTuple):
    """A call nobody has placed yet."""

    number: str
    """The number called, as somebody in the region would dial it."""
    talk_seconds: int
    dialed_at: datetime
    disposition: str = Disposition.ANSWERED
    campaign: str | None = None
    """None: one without a tariff of its own."""
    hold_seconds: int | None = None
    direction: str = "outbound"
    source: str = ""
    """The dialler; for the provider's side, as what follows."""
    dial_number: str | None = None
    """The dialler's own number, as somebody in the region would dial it."""
    answered_seconds: int | None = None
    """From pick-up to the end; None: not known."""


def quote(
    connection: Connection, call: HypotheticalCall, *, region: str, timezone: str, side: Side = Side.CLIENT
) -> Quote:
    """What a call would be charged if it were billed now: the ledger's own decision, explained.

    Args:
        connection: the database; only the rates of the number's prefixes are read.
        call: the call.
        region: the region of national numbers.
        timezone: the zone of the hours and weekdays of a version that has none of its own.
        side: what the client is charged, or what the provider charges.

    Raises:
        NoRateError: no tariff, or no rate for the number at that time.
        NoSecondsError: a provider's tariff counts seconds that the call does not have.
    """
    dialled = normalize_number(call.number, region)
    campaign = EVERYTHING if call.campaign is None else call.campaign.strip()
    unbilled = _unbilled(call, campaign, dialled, region)
    if side is Side.PROVIDER:
        version_id = version_ids_of_provider(connection, [unbilled]).get(unbilled.call_id)
    else:
        version_id = version_ids_in_force(connection, [campaign]).get(campaign)
    if version_id is None:
        raise NoRateError(dialled.value, call.dialed_at, call.campaign)
    version = version_by_id(connection, version_id)
    prefixes = [dialled.digits[:length] for length in range(len(dialled.digits) + 1)]
    rates = rates_of(connection, version_id, prefixes=prefixes)
    tariff = loaded_tariff(version, RateDeck(rates, version.timezone or timezone))
    if tariff.deck.has_networks:
        [network] = networks_of(connection, [(dialled.digits, call.dialed_at)])
        unbilled = unbilled._replace(network=network)
    try:
        priced = price(unbilled, tariff)
    except NoRateError:  # of the instant and the campaign as they were given
        raise NoRateError(dialled.value, call.dialed_at, call.campaign, tariff.name) from None
    steps = [f"{dialled.value} by tariff {tariff.name}, version {version.version}: {_which(priced.rate)}"]
    if unbilled.network:
        steps.append(f"the number was ported to {unbilled.network}")
    if priced.charge is not None:
        steps += _duration(call, tariff.duration_basis)
    steps += _steps(unbilled, tariff, priced)
    charge = priced.charge if priced.is_charged else None
    nothing = Decimal(0).scaleb(-tariff.decimals)
    return Quote(
        prefix=None if priced.rate is None else priced.rate.prefix,
        tariff=tariff.name,
        rate_per_minute=None if priced.rate is None else priced.rate.rate_per_minute,
        connect_fee=None if priced.rate is None else priced.rate.connect_fee,
        billable_seconds=charge.billable_seconds if charge else 0,
        unrounded=charge.unrounded if charge else nothing,
        amount=charge.amount if charge else nothing,
        currency=tariff.currency,
        steps=tuple(steps),
    )


def _steps(call: Unbilled, tariff: LoadedTariff, priced: Priced) -> tuple[str, ...]:
    if priced.charge is None or priced.rate is None:
        return (f"not charged: {priced.why}",)
    seconds = tariff.duration_basis.seconds(call.talk_seconds, call.hold_seconds, call.answered_seconds)
    return steps_of(
        priced.rate,
        seconds or 0,
        priced.charge,
        rounding=tariff.rounding,
        decimals=tariff.decimals,
        basis=tariff.duration_basis,
    )


def _duration(call: HypotheticalCall, basis: DurationBasis) -> list[str]:
    """Of which seconds the duration is made up, where that needs saying."""
    if basis is DurationBasis.CALL:
        return []
    if basis is DurationBasis.ANSWERED and call.answered_seconds is not None:
        return [f"duration is from pick-up to the end: {call.answered_seconds} s"]
    return [f"duration is call time + hold time: {call.talk_seconds} s + {call.hold_seconds or 0} s"]


def _unbilled(call: HypotheticalCall, campaign: str, dialled: Number, region: str) -> Unbilled:
    own = dialled
    if call.direction != "inbound" and call.dial_number is not None:
        own = normalize_number(call.dial_number, region)
    return Unbilled(
        call_id=0,
        campaign_ref=campaign,
        client_number=dialled.value,
        client_number_is_e164=dialled.is_e164,
        direction=call.direction,
        dialed_at=call.dialed_at.astimezone(UTC),
        talk_seconds=call.talk_seconds,
        disposition=call.disposition,
        hold_seconds=call.hold_seconds,
        dial_number=own.value,
        dial_number_is_e164=own.is_e164,
        source=call.source.strip(),
        answered_seconds=call.answered_seconds,
    )


def _which(rate: Rate | None) -> str:
    if rate is None:
        return "no rate"
    name = f" ({rate.description})" if rate.description else ""
    if rate.network:
        return f"network {rate.network}, {f'prefix {rate.prefix}' if rate.prefix else 'any prefix'}{name}"
    return f"prefix {rate.prefix}{name}" if rate.prefix else f"the default rate{name}"
