"""Recordings as an operator asks for them: counted, listed, missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.recordings.queue import IN_FLIGHT
from pipeline.recordings.rows import WAITING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

if TYPE_CHECKING:
    from sqlalchemy import Connection


def recordings_by_state(connection: Connection) -> dict[str, int]:
    """How many recordings are in each state; reads an index of all of them, so ask seldom."""
    rows = connection.execute(text("SELECT state, count(*) AS recordings FROM recordings GROUP BY state ORDER BY 1"))
    return {row.state: int(row.recordings) for row in rows}


class RecordingFilter(NamedTuple):
    """Which recordings; a field that is None leaves nothing out."""

    states: Sequence[str] | None = None
    source: str | None = None
    campaign: str | None = None
    call_ref: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    said: str | None = None
    held: bool | None = None
    differs: bool | None = None
    deleted: bool | None = None
    undeleted: bool | None = None


_FILTER = (
    "(cast(:states AS text[]) IS NULL OR r.state = ANY(cast(:states AS text[]))) "
    "AND (cast(:source AS text) IS NULL OR c.source = :source) "
    "AND (cast(:campaign AS text) IS NULL OR c.campaign_ref = :campaign) "
    "AND (cast(:call_ref AS text) IS NULL OR c.call_ref = :call_ref) "
    "AND (cast(:since AS timestamptz) IS NULL OR c.dialed_at >= :since) "
    "AND (cast(:until AS timestamptz) IS NULL OR c.dialed_at < :until) "
    "AND (cast(:said AS text) IS NULL OR strpos(r.reason, :said) > 0) "
    "AND (cast(:held AS boolean) IS NULL OR (r.held_at IS NOT NULL) = :held) "
    "AND (cast(:differs AS boolean) IS NULL OR (r.verify_problem IS NOT NULL) = :differs) "
    "AND (cast(:deleted AS boolean) IS NULL OR (r.deleted_at IS NOT NULL) = :deleted) "
    "AND (cast(:undeleted AS boolean) IS NULL OR (r.delete_problem IS NOT NULL) = :undeleted) "
)

_SHOWN = (
    "r.call_id, c.source, c.call_ref, c.campaign_ref, c.dialed_at, r.state, r.reason, r.attempts, r.due_at, "
    "r.scheduled_at, r.tried_at, r.ended_at, r.path, r.size_bytes, r.sha256, r.verified_at, r.verify_problem, "
    "r.held_at, r.held_by, r.deleted_at, r.deleted_reason, r.delete_tried_at, r.delete_problem"
)


def list_recordings(connection: Connection, wanted: RecordingFilter, *, limit: int) -> list[dict[str, Any]]:
    """The newest recordings that match."""
    rows = connection.execute(
        text(
            f"SELECT {_SHOWN} FROM recordings AS r JOIN calls AS c ON c.id = r.call_id WHERE {_FILTER} "
            "ORDER BY r.call_id DESC LIMIT :limit"
        ),
        {**wanted._asdict(), "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]


def list_missing(
    connection: Connection, wanted: RecordingFilter, *, ended: bool, limit: int, with_deleted: bool = False
) -> tuple[list[dict[str, Any]], int]:
    """Answered calls without a stored recording, newest first, each with the reason; and how many there are in all.

    Args:
        connection: the database.
        wanted: which calls; states are not looked at.
        ended: only those for which nothing more is tried.
        limit: the most to list.
        with_deleted: also those that were stored until retention deleted them.
    """
    where = (
        "FROM calls AS c JOIN dispositions AS d ON d.call_id = c.id LEFT JOIN recordings AS r ON r.call_id = c.id "
        "WHERE d.disposition = 'answered' "
        "AND (r.state IS DISTINCT FROM 'stored' OR (:with_deleted AND r.deleted_at IS NOT NULL)) "
        f"AND {_FILTER} AND (NOT :ended OR r.state NOT IN ('scheduled', 'downloading') "
        "                   OR (r.state IS NULL AND NOT d.can_have_audio)) "
    )
    values = {**wanted._asdict(), "states": None, "ended": ended, "limit": limit, "with_deleted": with_deleted}
    rows = connection.execute(
        text(
            "SELECT c.id AS call_id, c.source, c.call_ref, c.campaign_ref, c.dialed_at, c.talk_seconds, "
            "  CASE WHEN r.deleted_at IS NOT NULL THEN 'deleted' ELSE coalesce(r.state, 'none') END AS state, "
            "  CASE WHEN r.deleted_at IS NOT NULL THEN r.deleted_reason WHEN r.call_id IS NOT NULL "
            "       THEN coalesce(r.reason, 'It was not tried yet.') WHEN d.can_have_audio "
            "       THEN 'It is not scheduled yet: its batch is on its way.' "
            "       ELSE 'The dialler records no such call.' END AS reason, "
            f"  coalesce(r.attempts, 0) AS attempts, r.due_at {where} ORDER BY c.id DESC LIMIT :limit"
        ),
        values,
    )
    found = [dict(row) for row in rows.mappings()]
    if len(found) < limit:
        return found, len(found)
    return found, int(connection.execute(text(f"SELECT count(*) {where}"), values).scalar_one())


def queue_status(connection: Connection) -> list[dict[str, Any]]:
    """Each dialler: recordings by state, what is under way and due, and what needs looking at."""
    rows = connection.execute(
        text(
            "SELECT source, "
            "  count(*) FILTER (WHERE state = 'scheduled') AS scheduled, "
            "  count(*) FILTER (WHERE state = 'downloading') AS downloading, "
            "  count(*) FILTER (WHERE state = 'stored') AS stored, "
            "  count(*) FILTER (WHERE state = 'absent') AS absent, "
            "  count(*) FILTER (WHERE state = 'expired') AS expired, "
            "  count(*) FILTER (WHERE state = 'failed') AS failed, "
            "  coalesce(sum(size_bytes) FILTER (WHERE deleted_at IS NULL), 0)::bigint AS stored_bytes, "
            f"  count(*) FILTER (WHERE {WAITING} AND due_at <= now()) AS due, "
            f"  min(due_at) FILTER (WHERE {WAITING} AND due_at <= now()) AS oldest_due_at, "
            f"  count(*) FILTER (WHERE {IN_FLIGHT}) AS in_flight, "
            "  count(*) FILTER (WHERE state = 'scheduled' AND releases > 1) AS not_begun, "
            "  count(*) FILTER (WHERE held_at IS NOT NULL) AS held, "
            "  count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted, "
            "  count(*) FILTER (WHERE verify_problem IS NOT NULL) AS differing, "
            "  count(*) FILTER (WHERE delete_problem IS NOT NULL) AS undeleted, "
            "  max(ended_at) FILTER (WHERE state = 'stored') AS last_stored_at "
            "FROM recordings GROUP BY source ORDER BY source"
        )
    )
    return [dict(row) for row in rows.mappings()]


def calls_of(connection: Connection, call_refs: Sequence[str], source: str | None) -> dict[str, list[tuple[str, int]]]:
    """The calls of references that have a recording's row: by reference, each dialler and call."""
    rows = connection.execute(
        text(
            "SELECT c.call_ref, c.source, c.id FROM calls AS c JOIN recordings AS r ON r.call_id = c.id "
            "WHERE c.call_ref = ANY(cast(:call_refs AS text[])) "
            "  AND (cast(:source AS text) IS NULL OR c.source = :source) ORDER BY c.source"
        ),
        {"call_refs": list(call_refs), "source": source},
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        found.setdefault(row.call_ref, []).append((row.source, row.id))
    return found


def state_of(connection: Connection, call_id: int) -> Any:
    """Where one recording is."""
    return connection.execute(
        text("SELECT state, deleted_at, deleted_reason, call_ref, held_at FROM recordings WHERE call_id = :id"),
        {"id": call_id},
    ).one()
