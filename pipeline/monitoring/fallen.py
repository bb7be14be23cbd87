"""Numbers called from, whose answer rate fell: for the alert, and for whoever asks which."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from pipeline.database.narrowing import narrow_sql
from pipeline.monitoring.known_sources import KNOWN_SOURCES
from pipeline.monitoring.rules.fallen import BEFORE, DAY, FEWEST, Answering, fallen
from pipeline.record_ids import first_record

if TYPE_CHECKING:
    from sqlalchemy import Connection

# No call is received before it is dialled: what is older than the oldest batch since then need not be read.
_OLDEST_BATCH: Final = f"""
{KNOWN_SOURCES}
SELECT min(oldest) FROM known, LATERAL (
    SELECT id AS oldest FROM batches WHERE batches.source = known.source AND received_at >= :since
    ORDER BY received_at LIMIT 1) AS of_it
"""

# SQL: one pass over fifteen days of two tables, by the range of ids that both have. Calls that are not classified yet
# are left out: many of them would look like a fall.
_ANSWERING: Final = """
SELECT c.dial_number,
       count(*) FILTER (WHERE c.dialed_at >= :day),
       count(*) FILTER (WHERE c.dialed_at >= :day AND d.disposition = 'answered'),
       count(*) FILTER (WHERE c.dialed_at < :day),
       count(*) FILTER (WHERE c.dialed_at < :day AND d.disposition = 'answered')
FROM calls AS c JOIN dispositions AS d ON d.call_id = c.id
WHERE c.id >= :first AND d.call_id >= :first AND c.direction = 'outbound' AND c.dial_number IS NOT NULL
  AND c.dialed_at >= :since AND c.dialed_at < :until{narrowed}
GROUP BY 1 HAVING count(*) FILTER (WHERE c.dialed_at >= :day) >= :fewest
"""


def fallen_numbers(connection: Connection, until: datetime, *, source: str | None = None) -> list[Answering]:
    """The dial numbers of outbound calls whose answer rate fell, what fell deepest first.

    Args:
        connection: the database.
        until: the end of the day that is looked at, aware; fifteen days before it are read.
        source: one dialler; None: all, a number that several call from is one.
    """
    since = until - DAY - BEFORE
    oldest = connection.execute(text(_OLDEST_BATCH), {"since": since}).scalar_one()
    if oldest is None:
        return []
    wanted = {"source": source}
    values = {"first": first_record(oldest), "since": since, "day": until - DAY, "until": until, "fewest": FEWEST}
    statement = _ANSWERING.format(narrowed=narrow_sql(wanted, {"source": "c.source = :source"}))
    return fallen(Answering(*row) for row in connection.execute(text(statement), {**values, **wanted}))


def count_fallen(connection: Connection) -> list[tuple[Any, ...]]:
    """How many have by now, as a gauge's only row."""
    return [(len(fallen_numbers(connection, datetime.now(tz=UTC))),)]
