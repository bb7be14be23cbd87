"""Which recordings may be asked for now, so that a dialler's limits hold over all workers and machines.

There is one place that decides: a transaction that holds the dialler's row of ``recording_pace``. It counts what is
under way, looks at the pace and at the pause, and hands out what is left. A worker that has finished asks there again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings.rows import WAITING, take_due

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.recordings.rows import DueRecording
    from pipeline.recordings.rules.pace import Limits

PROBE_SECONDS = 60.0
"""How long a pause waits for word from its probe before another is sent."""

IN_FLIGHT = "(state = 'downloading' OR released_at IS NOT NULL) AND due_at > now()"
"""Being downloaded under a live lease, or on its way to a worker."""


def sources_with_due(connection: Connection) -> list[str]:
    """The diallers that have a recording due; a few steps in an index for each, however long the queue."""
    return list(connection.scalars(text(_SOURCES_WITH_DUE)))


_SOURCES_WITH_DUE: Final = (
    "WITH RECURSIVE sources AS ("
    f"  (SELECT source FROM recordings WHERE {WAITING} ORDER BY source LIMIT 1) UNION ALL "
    f"  SELECT (SELECT source FROM recordings WHERE {WAITING} AND source > sources.source "
    "           ORDER BY source LIMIT 1) FROM sources WHERE source IS NOT NULL) "
    "SELECT source FROM sources WHERE source IS NOT NULL AND EXISTS ("
    f"  SELECT FROM recordings AS due WHERE due.source = sources.source AND {WAITING} AND due_at <= now())"
)
ANY_DUE: Final = f"EXISTS ({_SOURCES_WITH_DUE})"
"""Whether any dialler has a recording due, as SQL."""


def hand_out(
    connection: Connection, source: str, *, limits: Limits, redispatch_after_seconds: float
) -> list[DueRecording]:
    """Take as many due recordings of a dialler as it may be asked for now. The caller sends their messages."""
    # A handing out that a crash of the database undoes is made again, so nobody need wait for the disk.
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    _lock(connection, source)
    pauses = recording_pauses.standing(connection, source)
    # A statement of its own after the lock, so that it sees what whoever held it before has handed out.
    in_flight, now, unused, pause_over = connection.execute(
        text(
            f"SELECT (SELECT count(*) FROM recordings WHERE source = :source AND {IN_FLIGHT}), clock_timestamp(), "
            "  extract(epoch FROM clock_timestamp() - paced_to)::float, "
            "  coalesce(cast(:until AS timestamptz) <= clock_timestamp(), true) "
            "FROM recording_pace WHERE source = :source"
        ),
        {"source": source, "until": pauses[0].until if pauses else None},
    ).one()
    allowed = limits.allowed(in_flight=in_flight, unused_seconds=unused)
    if pauses:
        allowed = min(allowed, 1) if pause_over else 0
    if not allowed:
        return []
    taken = take_due(connection, source, limit=allowed, redispatch_after_seconds=redispatch_after_seconds)
    if taken:
        left = limits.saved(unused) - len(taken) / limits.per_second
        connection.execute(
            text("UPDATE recording_pace SET paced_to = :paced_to WHERE source = :source"),
            {"source": source, "paced_to": now - timedelta(seconds=left)},
        )
    if taken and pauses:
        recording_pauses.let_one_through(connection, source, taken[0].call_id, seconds=PROBE_SECONDS)
    return taken


def _lock(connection: Connection, source: str) -> None:
    query = text("SELECT FROM recording_pace WHERE source = :source FOR UPDATE")
    if connection.execute(query, {"source": source}).one_or_none() is None:
        connection.execute(
            text(
                "INSERT INTO recording_pace (source, paced_to) VALUES (:source, 'epoch') "
                "ON CONFLICT (source) DO NOTHING"
            ),
            {"source": source},
        )
        connection.execute(query, {"source": source})
