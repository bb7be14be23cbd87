"""Each call that is to be charged gets its line in the ledger, each other one the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.domain.errors import NoRateError
from pipeline.domain.rating import ChargeReason, rate_call
from pipeline.steps.isolation import bug
from pipeline.storage.failures import Failure
from pipeline.storage.ledger import Line, Uncharged, insert_lines, insert_uncharged, unbilled_calls

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.steps.tariffs import LoadedTariff
    from pipeline.storage.inbox import Span
    from pipeline.storage.ledger import Unbilled


def bill(connection: Connection, span: Span, tariff: LoadedTariff | None) -> list[Failure]:
    """Charge calls.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are to be charged.
        tariff: the tariff in force, None where none was ever loaded.

    Returns:
        The calls that could not be charged, most often for want of a rate.
    """
    lines: list[Line] = []
    free: list[Uncharged] = []
    failures: list[Failure] = []
    for call in unbilled_calls(connection, span):
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
    insert_lines(connection, lines)
    insert_uncharged(connection, free)
    return failures


def decide(call: Unbilled, tariff: LoadedTariff | None) -> Line | Uncharged:
    """What one call is charged, or why nothing.

    The rate is the one valid when the call was dialled, never now (rating rule B.6.3). Inbound calls are not charged.

    Raises:
        NoRateError: nothing in the tariff covers the call.
    """
    billable = tariff.billable_dispositions if tariff is not None else frozenset({"answered"})
    if call.disposition not in billable:
        return Uncharged(call.call_id, f"a call that ended as {call.disposition} is not billed")
    if call.direction == "inbound":
        return Uncharged(call.call_id, "inbound calls are not billed")
    digits = (call.client_number or "").removeprefix("+") if call.client_number_is_e164 else ""
    rate = tariff.deck.find(digits, call.dialed_at) if tariff is not None else None
    if tariff is None or rate is None:
        if call.talk_seconds == 0:
            return Uncharged(call.call_id, ChargeReason.ZERO_SECONDS.value)
        raise NoRateError(call.client_number or "", call.dialed_at, call.campaign_ref, tariff and tariff.name)
    charge = rate_call(rate, call.talk_seconds, rounding=tariff.rounding, decimals=tariff.decimals)
    if charge.billable_seconds == 0 and charge.amount == 0:
        return Uncharged(call.call_id, charge.reason)
    return Line(
        call_id=call.call_id,
        kind="charge",
        revision=call.revision,
        tariff_version_id=tariff.version_id,
        prefix=rate.prefix,
        rate_per_minute=rate.rate_per_minute,
        connect_fee=rate.connect_fee,
        talk_seconds=call.talk_seconds,
        billable_seconds=charge.billable_seconds,
        unrounded=charge.unrounded,
        amount=charge.amount,
        currency=tariff.currency,
        reason=charge.reason,
    )
