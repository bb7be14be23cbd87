"""Calls as a list shows them: what happened, how it ended, its charge and recording; numbers for who may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import case, func, select, true

from pipeline.access.rules.masking import HIDDEN
from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.sides import Side
from pipeline.database.narrowing import among
from pipeline.database.tables import calls, dispositions, ledger, recordings, uncharged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection


class FoundCall(NamedTuple):
    """A call in a list; the instant is aware."""

    call_id: int
    source: str
    call_ref: str
    campaign_ref: str
    contact_ref: str | None
    agent: str | None
    """The agent's extension."""
    number: str | None
    """The other side's; ``***`` for who may not see numbers."""
    dial_number: str | None
    """The dialler's own; hidden alike."""
    direction: str
    dialed_at: datetime
    talk_seconds: int
    end_reason: str
    disposition: str | None
    """None until it is classified."""
    recording: str | None
    """Its state, or ``deleted``; None where there is none."""
    charge: Decimal | None
    """What is charged now; None: nothing, or nothing yet."""
    currency: str | None
    not_charged: str | None
    """Why it costs nothing."""


RECORDING_IS = case((recordings.c.deleted_at.is_not(None), "deleted"), else_=recordings.c.state)

# The last line of a call is its charge in force, or the reversal that left it without one.
_last_line = (
    select(ledger.c.kind, ledger.c.amount, ledger.c.currency)
    .where(ledger.c.call_id == calls.c.id, ledger.c.side == Side.CLIENT.value)
    .order_by(ledger.c.revision.desc(), ledger.c.kind.desc())
    .limit(1)
    .lateral("last_line")
)
_in_force = _last_line.c.kind == LineKind.CHARGE.value

_SHOWN = (
    select(
        calls.c.id,
        calls.c.source,
        calls.c.call_ref,
        calls.c.campaign_ref,
        calls.c.contact_ref,
        calls.c.extension,
        calls.c.client_number,
        calls.c.dial_number,
        calls.c.direction,
        calls.c.dialed_at,
        calls.c.talk_seconds,
        calls.c.end_reason,
        dispositions.c.disposition,
        RECORDING_IS,
        case((_in_force, _last_line.c.amount)),
        case((_in_force, _last_line.c.currency)),
        uncharged.c.reason,
    )
    .select_from(calls)
    .outerjoin(dispositions, dispositions.c.call_id == calls.c.id)
    .outerjoin(recordings, recordings.c.call_id == calls.c.id)
    .outerjoin(uncharged, (uncharged.c.call_id == calls.c.id) & (uncharged.c.side == Side.CLIENT.value))
    .outerjoin(_last_line, true())
)


def read_calls(connection: Connection, call_ids: Sequence[int], *, numbers: bool) -> list[FoundCall]:
    """These calls in this order, by their keys.

    Args:
        connection: the database.
        call_ids: which; one that is not there is left out.
        numbers: whether phone numbers are shown; else not a digit of them is.
    """
    if not call_ids:
        return []
    place = func.array_position(list(call_ids), calls.c.id)
    rows = connection.execute(_SHOWN.where(among(calls.c.id, call_ids)).order_by(place))
    found = (FoundCall._make(row) for row in rows)
    return list(found) if numbers else [_masked(call) for call in found]


def _masked(call: FoundCall) -> FoundCall:
    return call._replace(number=call.number and HIDDEN, dial_number=call.dial_number and HIDDEN)
