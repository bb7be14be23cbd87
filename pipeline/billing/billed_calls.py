"""Calls that were charged, or found not to be, read again to see whether that still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.billing.ledger import UNBILLED_COLUMNS
from pipeline.billing.rules.difference import Outcome
from pipeline.billing.rules.pricing import Unbilled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


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


_SELECTED = (
    "{at} >= :since AND {at} < :until AND (cast(:campaign AS text) IS NULL OR c.campaign_ref = :campaign) "
    "AND (cast(:source AS text) IS NULL OR c.source = :source)"
)

# The last line of a call is its charge in force, or the reversal that left it without one. A call that has neither a
# charge in force nor a reason for none is still to be billed, and none of rerating's business.
_OUTCOMES = """
SELECT {columns},
       CASE l.kind WHEN 'charge' THEN l.amount END AS amount,
       CASE l.kind WHEN 'charge' THEN l.currency END AS currency
FROM calls AS c
JOIN dispositions AS d ON d.call_id = c.id
LEFT JOIN LATERAL (SELECT kind, revision, amount, currency FROM ledger WHERE call_id = c.id
                   ORDER BY revision DESC, kind DESC LIMIT 1) AS l ON true
LEFT JOIN uncharged AS u ON u.call_id = c.id
WHERE {which} AND (l.kind = 'charge' OR u.call_id IS NOT NULL)
ORDER BY c.id
"""


def extent_of(connection: Connection, selection: Selection) -> Extent:
    """How much there is to look at; the calls are found by the index on when they were dialled."""
    row = connection.execute(
        text(
            "SELECT count(*) AS calls, coalesce(min(c.id), 0) AS first, coalesce(max(c.id), -1) AS last "
            f"FROM calls AS c WHERE {_SELECTED.format(at='c.dialed_at')}"
        ),
        selection._asdict(),
    ).one()
    return Extent(row.calls, row.first, row.last)


def calls_after(connection: Connection, selection: Selection, after: int, last: int, limit: int) -> list[int]:
    """The next calls of a selection by id: after one id, and up to another."""
    # Walked along the primary key from where the last chunk ended. The sum keeps the planner from finding the whole
    # selection by its dates for each chunk anew.
    selected = _SELECTED.format(at="c.dialed_at + interval '0'")
    rows = connection.execute(
        text(
            f"SELECT c.id FROM calls AS c WHERE c.id > :after AND c.id <= :last AND {selected} "
            "ORDER BY c.id LIMIT :limit"
        ),
        {**selection._asdict(), "after": after, "last": last, "limit": limit},
    )
    return list(rows.scalars())


def outcomes_of(connection: Connection, call_ids: Sequence[int]) -> list[Outcome]:
    """What came of calls; those that are still to be billed, or wait for a rate, are left out."""
    query = _OUTCOMES.format(columns=UNBILLED_COLUMNS, which="c.id = ANY(cast(:call_ids AS bigint[]))")
    rows = connection.execute(text(query), {"call_ids": list(call_ids)})
    return [Outcome(Unbilled._make(row[: len(Unbilled._fields)]), row.amount, row.currency) for row in rows]


def forget_uncharged(connection: Connection, call_ids: Sequence[int], *, who: str, rerate_id: int) -> None:
    """Take away why calls cost nothing, as they are to be charged; each reason is kept in the call's history."""
    if call_ids:
        connection.execute(
            text(
                "WITH gone AS (DELETE FROM uncharged WHERE call_id = ANY(cast(:call_ids AS bigint[])) "
                "              RETURNING call_id, reason) "
                "INSERT INTO actions (who, action, record_id, detail) "
                "SELECT :who, 'rerate', call_id, "
                "  jsonb_build_object('rerate', cast(:rerate_id AS bigint), 'reason', 'was not charged: ' || reason) "
                "FROM gone"
            ),
            {"call_ids": list(call_ids), "who": who, "rerate_id": rerate_id},
        )
