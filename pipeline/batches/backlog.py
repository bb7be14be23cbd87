"""What is on its way and how fast it moves, for whoever watches: cheap enough to be asked every few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.rules.steps import MARK, UPSTREAM, Step
from pipeline.batches.sources import known_sources
from pipeline.monitoring.pending import PENDING

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

BUCKET_SECONDS = 10
BUCKETS = 60

DEEP_RECORDS: Final = 5_000
"""A quarter of what an ingestor lets be on its way, which is as much while a backlog lasts; at 1,000 CDR/s it is some
hundred."""

_LOOKED_AT = "1 hour"
"""Batches received in this time are looked at for what finished lately: the rest of them is a backlog of its own."""


def _turn(step: Step) -> str:
    before = [f"{MARK[each]} IS NOT NULL" for each in Step if each in UPSTREAM[step]]
    return " AND ".join((*before, f"{MARK[step]} IS NULL"))


_BY_STEP: Final = ", ".join(
    f"({place}, '{step.value}', {_turn(step)}, pending.{step.value})" for place, step in enumerate(Step, 1)
)
_STANDS_AT: Final = " ".join(f"WHEN {mark} IS NULL THEN '{step.value}'" for step, mark in MARK.items())


class Waiting(NamedTuple):
    """What waits for one step."""

    step: str
    batches: int
    """Batches whose turn it is at this step, or that hold a record which waits for it."""
    records: int
    """Those of their records that wait for it: of a batch that was opened again for one, that one."""
    oldest_at: datetime
    """When the oldest of these batches was received."""


class Backlog(NamedTuple):
    """What waits, altogether and step by step."""

    records: int
    """As many as the balance sheet calls pending. One that waits for two steps is counted at both, and here once."""
    steps: list[Waiting]
    """In the order of the flow; a step for which nothing waits is left out."""


class Standing(NamedTuple):
    """A batch that was sent again and has not moved since: its tasks fail, or nobody reads their queue."""

    batch_id: int
    source: str
    records: int
    """All it holds: what waits of them is not counted here, so that this is told whatever table is locked or broken."""
    step: str
    """The step it stands at."""
    resends: int
    due_at: datetime
    """When it is sent again by itself."""


class Throughput(NamedTuple):
    """Records a second, in spans of ``BUCKET_SECONDS``, the oldest first."""

    received: list[float]
    finished: list[float]


def backlog(connection: Connection, *, source: str | None = None) -> Backlog:
    """What waits, in whole and for each step.

    Args:
        connection: the caller's transaction.
        source: one dialler; None all.
    """
    rows = connection.execute(
        text(
            f"WITH pending AS MATERIALIZED (SELECT * FROM ({PENDING}) AS unfinished "
            "  WHERE cast(:source AS text) IS NULL OR source = :source) "
            "SELECT 0 AS place, NULL AS step, count(*) AS batches, coalesce(sum(waiting), 0) AS records, "
            "  min(received_at) AS oldest_at FROM pending "
            "UNION ALL SELECT place, step, count(*), sum(steps.records), min(received_at) "
            f"FROM pending CROSS JOIN LATERAL (VALUES {_BY_STEP}) AS steps (place, step, turn, records) "
            "WHERE turn OR steps.records > 0 GROUP BY place, step ORDER BY place"
        ),
        {"source": source},
    ).all()
    steps = [Waiting(row.step, row.batches, int(row.records), row.oldest_at) for row in rows[1:]]
    return Backlog(int(rows[0].records), steps)


def is_deep(connection: Connection) -> bool:
    """Whether calls wait for the processor. What stands still, or was opened again, waits for something else."""
    return bool(connection.scalar(_DEEP, {"deep": DEEP_RECORDS}))


_DEEP: Final = text(
    "SELECT coalesce(sum(records), 0) >= :deep FROM batches "
    "WHERE finished_at IS NULL AND reopened_at IS NULL AND resends = 0"
)

_STANDING: Final = (
    "FROM batches WHERE finished_at IS NULL AND resends > 0 AND (cast(:source AS text) IS NULL OR source = :source)"
)


def standing_batches(connection: Connection, *, limit: int, source: str | None = None) -> list[Standing]:
    """Batches that were sent again without moving, those that were sent the most often first.

    Args:
        connection: the caller's transaction.
        limit: the most to list.
        source: one dialler; None all.
    """
    rows = connection.execute(
        text(
            f"SELECT id AS batch_id, source, records, CASE {_STANDS_AT} END AS step, resends, due_at {_STANDING} "
            "ORDER BY resends DESC, id LIMIT :limit"
        ),
        {"limit": limit, "source": source},
    )
    return [Standing(*row) for row in rows]


def count_standing(connection: Connection, *, source: str | None = None) -> int:
    """How many batches stand still, of one dialler or of all."""
    return int(connection.execute(text(f"SELECT count(*) {_STANDING}"), {"source": source}).scalar_one())


def throughput(connection: Connection, *, source: str | None = None) -> Throughput:
    """How many records a second came in, and how many were done with, over the last ten minutes.

    Args:
        connection: the caller's transaction.
        source: one dialler; None all.
    """
    rows = connection.execute(
        text(
            "WITH lately AS (SELECT records, received_at, finished_at FROM batches "
            "  WHERE source = ANY(cast(:sources AS text[])) "
            f"  AND received_at > now() - interval '{_LOOKED_AT}'), "
            "seen (kind, at, records) AS (SELECT 'received', received_at, records FROM lately "
            "  UNION ALL SELECT 'finished', finished_at, records FROM lately WHERE finished_at IS NOT NULL) "
            "SELECT kind, cast(floor(extract(epoch FROM now() - at) / :seconds) AS integer) AS bucket, "
            "  sum(records) AS records "
            "FROM seen WHERE at > now() - make_interval(secs => :span) GROUP BY 1, 2"
        ),
        {
            "sources": known_sources(connection) if source is None else [source],
            "seconds": BUCKET_SECONDS,
            "span": BUCKET_SECONDS * BUCKETS,
        },
    )
    rates = {"received": [0.0] * BUCKETS, "finished": [0.0] * BUCKETS}
    for row in rows:
        if 0 <= row.bucket < BUCKETS:
            rates[row.kind][BUCKETS - 1 - row.bucket] = int(row.records) / BUCKET_SECONDS
    return Throughput(**rates)
