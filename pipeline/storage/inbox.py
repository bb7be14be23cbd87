"""Batches and their raw records: what the ingestor commits before anything leaves the dialler's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.storage.database import copy_rows, execute
from pipeline.storage.models import PLACES, inbox

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from sqlalchemy import Connection


class Batch(NamedTuple):
    """What a task message carries: enough to find the rows, and to be readable in Flower."""

    batch_id: int
    source: str
    records: int

    @property
    def span(self) -> Span:
        """All its records."""
        return Span(self.source, first_record(self.batch_id), last_record(self.batch_id))


class Span(NamedTuple):
    """A run of records of one batch: what a step works on, most often the whole batch."""

    source: str
    first: int
    last: int

    @property
    def bounds(self) -> dict[str, int]:
        """The bounds as a statement takes them."""
        return {"first": self.first, "last": self.last}


def first_record(batch_id: int) -> int:
    """The record id of a batch's first record."""
    return batch_id * PLACES


def last_record(batch_id: int) -> int:
    """The highest record id a batch can hold."""
    return batch_id * PLACES + PLACES - 1


def batch_of(record_id: int) -> int:
    """The batch a record came in.

    >>> batch_of(first_record(7) + 12)
    7
    """
    return record_id // PLACES


def settle(
    connection: Connection,
    claim: uuid.UUID,
    source: str,
    elements: Sequence[bytes],
    *,
    resend_after_seconds: float,
) -> Batch | None:
    """Write a claim's elements as one batch; None when it was settled before, by whomever.

    The claim's row is the gate: whoever inserts it writes the records in the same transaction, so a claim has all its
    records or none. A second settler waits at the unique constraint and then finds the work done.

    Args:
        connection: the caller's transaction.
        claim: the claim's id on the dialler's Redis.
        source: the dialler's name.
        elements: the elements as they came, in the claim's order.
        resend_after_seconds: when the reconciler may take the batch's message for lost.
    """
    row = execute(
        connection,
        "INSERT INTO batches (claim, source, records, due_at) "
        "VALUES (%(claim)s, %(source)s, %(records)s, now() + make_interval(secs => %(resend_after)s)) "
        "ON CONFLICT (claim) DO NOTHING RETURNING id",
        {"claim": claim, "source": source, "records": len(elements), "resend_after": resend_after_seconds},
    ).fetchone()
    if row is None:
        return None
    batch_id: int = row[0]
    start = first_record(batch_id)
    copy_rows(connection, inbox, ("record_id", "raw"), ((start + place, raw) for place, raw in enumerate(elements)))
    return Batch(batch_id, source, len(elements))


def unknown_claims(connection: Connection, claims: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those of some claims that were never settled, as far as this database knows; in the order given."""
    known = {
        claim
        for (claim,) in execute(
            connection, "SELECT claim FROM batches WHERE claim = ANY(%(claims)s)", {"claims": list(claims)}
        )
    }
    return [claim for claim in claims if claim not in known]


class Unfinished(NamedTuple):
    """What is on its way, of one source."""

    batches: int
    records: int


def unfinished_batches(connection: Connection, source: str, limit: int) -> tuple[Unfinished, bool]:
    """How much of a source is on its way for the first time, up to ``limit`` batches; and whether it is stopped.

    What was reopened to be tried again is left out: a retry of many failures must not keep new records waiting.

    Two answers of one query, because the ingestor asks both at every turn.
    """
    batches, records, stopped = execute(
        connection,
        "SELECT count(*), coalesce(sum(records), 0)::bigint, "
        "       EXISTS (SELECT FROM stops WHERE source = %(source)s AND released_at IS NULL) "
        "FROM (SELECT records FROM batches "
        "      WHERE finished_at IS NULL AND reopened_at IS NULL AND source = %(source)s LIMIT %(limit)s) AS fresh",
        {"source": source, "limit": limit},
    ).fetchall()[0]
    return Unfinished(batches, records), stopped


def known_sources(connection: Connection) -> list[str]:
    """Every dialler that anything was received from; reads one index entry a source, however many batches there are."""
    rows = connection.execute(
        text(
            "WITH RECURSIVE sources AS ("
            "  (SELECT source FROM batches ORDER BY source LIMIT 1) "
            "  UNION ALL "
            "  SELECT (SELECT b.source FROM batches AS b WHERE b.source > s.source ORDER BY b.source LIMIT 1) "
            "  FROM sources AS s WHERE s.source IS NOT NULL) "
            "SELECT source FROM sources WHERE source IS NOT NULL"
        )
    )
    return list(rows.scalars())
