"""Calls that were charged, or found not to be, read again to see whether that still holds."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, Boolean, Interval, delete, func, literal, literal_column, not_, select, text

from pipeline.billing.ledger import UNBILLED_COLUMNS_OF
from pipeline.billing.rules.difference import Outcome
from pipeline.billing.rules.pricing import LineKind, Unbilled
from pipeline.billing.rules.sides import Side
from pipeline.calls.rules.erased import ERASED
from pipeline.database.audit import telling
from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import calls, uncharged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from pipeline.database.narrowing import Conditions


class Selection(NamedTuple):
    """Which calls: dialled from an instant up to before another, of one campaign or all, of one dialler or all."""

    since: datetime
    until: datetime
    campaign: str | None = None
    source: str | None = None


class Extent(NamedTuple):
    """How many calls a selection has, and between which ids they lie."""

    calls: int
    first: int
    last: int


# SQL: the ledger is looked up a call at a time, as rerating was measured. The last line of a call is its charge in
# force, or the reversal that left it without one. A call that has neither a charge in force nor a reason for none is
# still to be billed on the client's side, and none of rerating's business. On the provider's it may have been billed
# before anything was assigned to it, and is charged by rerating it.
_OUTCOMES = {
    side: f"""
SELECT {UNBILLED_COLUMNS_OF[side]},
       CASE l.kind WHEN '{LineKind.CHARGE}' THEN l.amount END AS amount,
       CASE l.kind WHEN '{LineKind.CHARGE}' THEN l.currency END AS currency,
       u.reason AS why_not
FROM calls AS c
JOIN dispositions AS d ON d.call_id = c.id
LEFT JOIN LATERAL (SELECT kind, revision, amount, currency FROM ledger WHERE call_id = c.id AND side = '{side}'
                   ORDER BY revision DESC, kind DESC LIMIT 1) AS l ON true
LEFT JOIN uncharged AS u ON u.call_id = c.id AND u.side = '{side}'
{more}WHERE c.id = ANY(cast(:call_ids AS bigint[])){only}
ORDER BY c.id
"""
    for side, more, only in (
        (Side.CLIENT, "", f" AND (l.kind = '{LineKind.CHARGE}' OR u.call_id IS NOT NULL)"),
        (Side.PROVIDER, "LEFT JOIN answered_seconds AS s ON s.call_id = c.id\n", ""),
    )
}


def extent_of(connection: Connection, selection: Selection) -> Extent:
    """How much there is to look at; the calls are found by the index on when they were dialled."""
    found = select(func.count(), func.coalesce(func.min(calls.c.id), 0), func.coalesce(func.max(calls.c.id), -1))
    return Extent(*connection.execute(found.where(*_selected(selection, calls.c.dialed_at))).one())


_NOT_BY_DATE = calls.c.dialed_at + literal_column("interval '0'", Interval)
"""The sum keeps the planner from finding the whole selection by its dates for each chunk anew."""


def calls_after(connection: Connection, selection: Selection, after: int, last: int, limit: int) -> list[int]:
    """The next calls of a selection by id: after one id, and up to another.

    They are walked along the primary key, from where the last chunk ended.
    """
    walked = select(calls.c.id).where(calls.c.id > after, calls.c.id <= last, *_selected(selection, _NOT_BY_DATE))
    return list(connection.scalars(walked.order_by(calls.c.id).limit(limit)))


def _selected(selection: Selection, dialed_at: ColumnElement[datetime]) -> Iterator[ColumnElement[bool]]:
    conditions: Conditions = {
        "since": lambda instant: dialed_at >= instant,
        "until": lambda instant: dialed_at < instant,
        "campaign": lambda value: calls.c.campaign_ref == value,
        "source": lambda value: calls.c.source == value,
    }
    # What a call of an erased number was charged stays: its whole number is not there to be rated again.
    of_erased = func.coalesce(func.starts_with(calls.c.client_number, ERASED), literal(value=False), type_=Boolean)
    return chain(narrow(selection._asdict(), conditions), [not_(of_erased)])


def outcomes_of(connection: Connection, call_ids: Sequence[int], side: Side = Side.CLIENT) -> list[Outcome]:
    """What came of calls on a side; of the client's those still to be billed, or that wait for a rate, are left out."""
    rows = connection.execute(text(_OUTCOMES[side]), {"call_ids": list(call_ids)})
    return [Outcome(Unbilled(*row[:-3]), row.amount, row.currency, row.why_not) for row in rows]


def forget_uncharged(
    connection: Connection, call_ids: Sequence[int], *, who: str, rerate_id: int, side: Side = Side.CLIENT
) -> None:
    """Take away why calls cost nothing on a side, as something else is to be said of them.

    Each reason is kept in the call's history, but for those of the provider's side: integrators read that history.
    """
    if not call_ids:
        return
    of = uncharged.c
    gone_from = delete(uncharged).where(among(of.call_id, call_ids), of.side == side.value)
    if side is Side.PROVIDER:
        connection.execute(gone_from)
    else:
        gone = gone_from.returning(of.call_id, of.reason).cte("gone")
        reason = literal("was not charged: ").concat(gone.c.reason)
        detail = func.jsonb_build_object("rerate", literal(rerate_id, BigInteger), "reason", reason)
        connection.execute(telling(who, "rerate", gone.c.call_id, detail))
