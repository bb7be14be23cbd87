"""Batches and their raw records: what the ingestor commits before anything leaves the dialler's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.rules.batch import Batch
from pipeline.database.engine import execute
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from sqlalchemy import Connection


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
    # One statement, whatever the size: next to COPY it spares two round trips and a third of our processor time, at the
    # same cost to the server.
    row = execute(
        connection,
        "WITH batch AS ("
        "  INSERT INTO batches (claim, source, records, due_at) "
        "  VALUES (%(claim)s, %(source)s, %(records)s, now() + make_interval(secs => %(resend_after)s)) "
        "  ON CONFLICT (claim) DO NOTHING RETURNING id), "
        "settled AS ("
        "  INSERT INTO inbox (record_id, raw) SELECT batch.id * %(places)s + place - 1, raw "
        "  FROM batch, unnest(%(elements)b::bytea[]) WITH ORDINALITY AS claimed (raw, place)), "
        "fed AS (INSERT INTO feed (kind, source, batch_id) SELECT 'call.received', %(source)s, id FROM batch) "
        "SELECT id FROM batch",
        {
            "claim": claim,
            "source": source,
            "records": len(elements),
            "resend_after": resend_after_seconds,
            "places": PLACES,
            "elements": list(elements),
        },
    ).fetchone()
    return None if row is None else Batch(row[0], source, len(elements))


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

    Two answers of one query, because the ingestor asks both before every claim.
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
