"""What accepting conflicts comes to in money: what each call is charged, and what it would be."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select

from pipeline.billing.foresight import foresee
from pipeline.billing.ledger import InForce, charges_in_force
from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged
from pipeline.calls.rules.disposition import classify
from pipeline.database.tables import calls, conflicts
from pipeline.failures.both import FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from pipeline.errors import NoRateError
    from pipeline.failures.listing import FailureFilter

MOST: Final = 2_000
"""Conflicts whose charges are worked out while somebody waits for the page."""


class Stake(NamedTuple):
    """A conflict in money."""

    failure_id: int
    call_id: int
    stored: InForce | None
    """The charge that stands; None where the call is not charged."""
    new: Line | Uncharged | NoRateError | None
    """What the new version would be charged now; None where no worker has kept what it says."""


def stakes_of(connection: Connection, wanted: FailureFilter, *, timezone: str, limit: int = MOST) -> list[Stake]:
    """What each of these conflicts is about, by id.

    Args:
        connection: the database.
        wanted: which failures; those that are no conflicts are left out.
        timezone: the zone of the hours and weekdays of a tariff that has none of its own.
        limit: the most of them.
    """
    found = connection.execute(
        select(FAILED.c.id, calls.c.id, conflicts.c.content)
        .join(calls, (calls.c.source == FAILED.c.source) & (calls.c.call_ref == FAILED.c.call_ref))
        .outerjoin(conflicts, conflicts.c.record_id == FAILED.c.record_id)
        .where(*wanted.conditions(), FAILED.c.failure_class == "conflict")
        .order_by(FAILED.c.id)
        .limit(limit)
    ).all()
    stored = charges_in_force(connection, [call_id for _, call_id, _ in found])
    # By the failure's id: a call may have several versions waiting.
    said = [_unbilled(failure_id, content) for failure_id, _, content in found if content is not None]
    new = foresee(connection, said, timezone=timezone)
    return [Stake(failure_id, call_id, stored.get(call_id), new.get(failure_id)) for failure_id, call_id, _ in found]


def charge_to_come(
    connection: Connection, call: Mapping[str, Any], *, timezone: str
) -> Line | Uncharged | NoRateError | None:
    """What a stored call that is not charged yet will be charged, as far as that can be said now.

    Args:
        connection: the database.
        call: its columns by their names.
        timezone: the zone of the hours and weekdays of a tariff that has none of its own.
    """
    return foresee(connection, [_unbilled(0, call)], timezone=timezone).get(0)


class Total(NamedTuple):
    """What accepting all of some conflicts comes to."""

    calls: int
    before: Mapping[str, Decimal]
    """What their calls are charged now, by currency."""
    after: Mapping[str, Decimal]
    """What they would be."""
    unknown: int
    """Calls whose new version cannot be charged yet: for want of a rate, or because no worker has read it."""


def total_of(stakes: Sequence[Stake]) -> Total:
    """Sum up; of a call with several versions the newest counts, which is the one that stays."""
    last = {stake.call_id: stake for stake in stakes}
    before: dict[str, Decimal] = defaultdict(Decimal)
    after: dict[str, Decimal] = defaultdict(Decimal)
    for stake in last.values():
        if stake.stored is not None:
            before[stake.stored.currency] += stake.stored.amount
        if isinstance(stake.new, Line):
            after[stake.new.currency] += stake.new.amount
    unknown = sum(not isinstance(stake.new, Line | Uncharged) for stake in last.values())
    return Total(len(last), before, after, unknown)


def _unbilled(key: int, call: Mapping[str, Any]) -> Unbilled:
    at = call["dialed_at"]
    classified = classify(
        call["end_reason"], call["end_code"], call["extension"], call["hold_seconds"], call["talk_seconds"]
    )
    return Unbilled(
        call_id=key,
        campaign_ref=call["campaign_ref"],
        client_number=call["client_number"],
        client_number_is_e164=call["client_number_is_e164"],
        direction=call["direction"],
        dialed_at=at if isinstance(at, datetime) else datetime.fromisoformat(at),
        talk_seconds=call["talk_seconds"],
        disposition=classified.disposition,
        hold_seconds=call["hold_seconds"],
        dial_number=call["dial_number"],
        dial_number_is_e164=call["dial_number_is_e164"],
    )
