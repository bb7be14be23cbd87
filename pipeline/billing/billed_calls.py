"""Calls that were charged, or found not to be, read again to see whether that still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, Interval, delete, func, literal, literal_column, select, text

from pipeline.billing.ledger import UNBILLED_COLUMNS
from pipeline.billing.rules.difference import Outcome
from pipeline.billing.rules.pricing import LineKind, Unbilled
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
# still to be billed, and none of rerating's business.
_OUTCOMES = f"""
SELECT {UNBILLED_COLUMNS},
       CASE l.kind WHEN '{LineKind.CHARGE}' THEN l.amount END AS amount,
       CASE l.kind WHEN '{LineKind.CHARGE}' THEN l.currency END AS currency
FROM calls AS c
JOIN dispositions AS d ON d.call_id = c.id
LEFT JOIN LATERAL (SELECT kind, revision, amount, currency FROM ledger WHERE call_id = c.id
                   ORDER BY revision DESC, kind DESC LIMIT 1) AS l ON true
LEFT JOIN uncharged AS u ON u.call_id = c.id
WHERE c.id = ANY(cast(:call_ids AS bigint[])) AND (l.kind = '{LineKind.CHARGE}' OR u.call_id IS NOT NULL)
ORDER BY c.id
"""


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
    return narrow(selection._asdict(), conditions)


def outcomes_of(connection: Connection, call_ids: Sequence[int]) -> list[Outcome]:
    """What came of calls; those that are still to be billed, or wait for a rate, are left out."""
    rows = connection.execute(text(_OUTCOMES), {"call_ids": list(call_ids)})
    return [Outcome(Unbilled._make(row[: len(Unbilled._fields)]), row.amount, row.currency) for row in rows]


def forget_uncharged(connection: Connection, call_ids: Sequence[int], *, who: str, rerate_id: int) -> None:
    """Take away why calls cost nothing, as they are to be charged; each reason is kept in the call's history."""
    if call_ids:
        of = uncharged.c
        gone = delete(uncharged).where(among(of.call_id, call_ids)).returning(of.call_id, of.reason).cte("gone")
        reason = literal("was not charged: ").concat(gone.c.reason)
        detail = func.jsonb_build_object("rerate", literal(rerate_id, BigInteger), "reason", reason)
        connection.execute(telling(who, "rerate", gone.c.call_id, detail))
