"""What becomes of recordings after they ended: tried again, held, verified, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

ENDED_WITHOUT_FILE = ("absent", "expired", "failed")
"""The states an operator may have tried again."""


class KeptFile(NamedTuple):
    """A stored recording and what identifies its bytes."""

    call_id: int
    source: str
    call_ref: str
    path: str
    size_bytes: int
    sha256: bytes


class Retried(NamedTuple):
    """What an operator's retry came to."""

    scheduled: int
    without_call_ref: int


def retry(
    connection: Connection,
    *,
    who: str,
    reason: str | None,
    states: Sequence[str] = ENDED_WITHOUT_FILE,
    call_ids: Sequence[int] | None = None,
    source: str | None = None,
    campaign: str | None = None,
    said: str | None = None,
) -> Retried:
    """Schedule recordings that ended without a file once more, as if for the first time.

    Args:
        connection: the database; all of it is one transaction.
        who: does it.
        reason: why, for the record.
        states: only those in one of these.
        call_ids: only these.
        source: only this dialler's.
        campaign: only of this campaign.
        said: only those whose reason contains this.
    """
    row = connection.execute(
        text(
            "WITH chosen AS MATERIALIZED ("
            "  SELECT call_id, state, reason, attempts, starts_with(call_ref, 'sha256:') AS nameless FROM recordings "
            "  WHERE state = ANY(cast(:states AS text[])) AND state IN ('absent', 'expired', 'failed') "
            "    AND (cast(:call_ids AS bigint[]) IS NULL OR call_id = ANY(cast(:call_ids AS bigint[]))) "
            "    AND (cast(:source AS text) IS NULL OR source = :source) "
            "    AND (cast(:said AS text) IS NULL OR strpos(reason, :said) > 0) "
            "    AND (cast(:campaign AS text) IS NULL OR EXISTS (SELECT FROM calls "
            "         WHERE calls.id = call_id AND calls.campaign_ref = :campaign)) "
            "  FOR UPDATE), "
            "again AS (UPDATE recordings SET state = 'scheduled', due_at = now(), counts_from = now(), attempts = 0, "
            "    ended_at = NULL, released_at = NULL, releases = 0, suspect = false, losses = 0, "
            "    reason = 'An operator had it tried again.' "
            "  FROM chosen WHERE recordings.call_id = chosen.call_id AND NOT nameless "
            "  RETURNING recordings.call_id, chosen.state AS was, chosen.reason AS said, chosen.attempts AS tries), "
            "told AS (INSERT INTO actions (who, action, record_id, detail) "
            "  SELECT :who, 'recording retried', call_id, jsonb_strip_nulls(jsonb_build_object("
            "    'was', was, 'because', said, 'attempts', tries, 'reason', cast(:reason AS text))) FROM again) "
            "SELECT (SELECT count(*) FROM again), (SELECT count(*) FROM chosen WHERE nameless)"
        ),
        {
            "who": who,
            "reason": reason,
            "states": list(states),
            "call_ids": None if call_ids is None else list(call_ids),
            "source": source,
            "campaign": campaign,
            "said": said,
        },
    ).one()
    return Retried(*row)


def hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Keep a recording's file whatever its age; False when it was held already."""
    result = connection.execute(
        text("UPDATE recordings SET held_at = now(), held_by = :who WHERE call_id = :call_id AND held_at IS NULL"),
        {"call_id": call_id, "who": who},
    )
    if result.rowcount:
        _tell(connection, who, "recording held", call_id, reason)
    return bool(result.rowcount)


def release(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Let retention have a recording again; False when it was not held."""
    result = connection.execute(
        text("UPDATE recordings SET held_at = NULL, held_by = NULL WHERE call_id = :call_id AND held_at IS NOT NULL"),
        {"call_id": call_id},
    )
    if result.rowcount:
        _tell(connection, who, "recording hold released", call_id, reason)
    return bool(result.rowcount)


def take_expired(
    connection: Connection, *, older_than_days: int, limit: int, source: str | None = None
) -> list[KeptFile]:
    """Stored files past their retention and not held, oldest first, locked until the end of the transaction.

    Args:
        connection: the caller's transaction.
        older_than_days: by when the calls were dialled.
        limit: the most to take.
        source: only this dialler's, for only its own workers have its store; None: all.
    """
    # Rows that code older than the column stored. There are none of them soon, and then an index says so.
    connection.execute(
        text(
            "UPDATE recordings SET dialed_at = calls.dialed_at FROM calls "
            "WHERE state = 'stored' AND deleted_at IS NULL AND recordings.dialed_at IS NULL AND calls.id = call_id"
        )
    )
    rows = connection.execute(
        text(
            "SELECT call_id, source, call_ref, path, size_bytes, sha256 FROM recordings "
            "WHERE state = 'stored' AND deleted_at IS NULL AND held_at IS NULL "
            "  AND dialed_at < now() - make_interval(days => :days) "
            "  AND (cast(:source AS text) IS NULL OR source = :source) "
            "ORDER BY dialed_at LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"days": older_than_days, "limit": limit, "source": source},
    )
    return [KeptFile(*row) for row in rows]


def mark_deleted(connection: Connection, call_ids: Sequence[int], *, reason: str) -> None:
    """Write down that files are gone."""
    connection.execute(
        text(
            "UPDATE recordings SET deleted_at = clock_timestamp(), deleted_reason = :reason, verify_problem = NULL "
            "WHERE call_id = ANY(cast(:call_ids AS bigint[]))"
        ),
        {"call_ids": list(call_ids), "reason": reason},
    )


def begin_verification(connection: Connection, *, who: str, afresh: bool) -> tuple[int, datetime, bool]:
    """The run to go on with, or a new one: its id, when it began, and whether it had begun before."""
    if afresh:
        connection.execute(text("UPDATE recording_verifications SET ended_at = now() WHERE ended_at IS NULL"))
    row = connection.execute(
        text("SELECT id, began_at FROM recording_verifications WHERE ended_at IS NULL ORDER BY id LIMIT 1")
    ).one_or_none()
    if row is not None:
        return row.id, row.began_at, True
    row = connection.execute(
        text("INSERT INTO recording_verifications (who) VALUES (:who) RETURNING id, began_at"), {"who": who}
    ).one()
    _tell(connection, who, "recordings verification begun", None, None)
    return row.id, row.began_at, False


def end_verification(connection: Connection, run_id: int) -> None:
    """The run has seen everything."""
    connection.execute(
        text("UPDATE recording_verifications SET ended_at = clock_timestamp() WHERE id = :id"), {"id": run_id}
    )


_UNVERIFIED = (
    "state = 'stored' AND deleted_at IS NULL AND ended_at < :began_at "
    "AND (verified_at IS NULL OR verified_at < :began_at)"
)


def count_unverified(connection: Connection, *, began_at: datetime) -> tuple[int, int]:
    """How many files, and bytes, a run still has to read."""
    row = connection.execute(
        text(f"SELECT count(*), coalesce(sum(size_bytes), 0)::bigint FROM recordings WHERE {_UNVERIFIED}"),
        {"began_at": began_at},
    ).one()
    return row[0], row[1]


def next_unverified(connection: Connection, *, began_at: datetime, after: int, limit: int) -> list[KeptFile]:
    """Files a run still has to read, in the order of their calls."""
    rows = connection.execute(
        text(
            f"SELECT call_id, source, call_ref, path, size_bytes, sha256 FROM recordings WHERE {_UNVERIFIED} "
            "AND call_id > :after ORDER BY call_id LIMIT :limit"
        ),
        {"began_at": began_at, "after": after, "limit": limit},
    )
    return [KeptFile(*row) for row in rows]


def mark_verified(connection: Connection, results: Sequence[tuple[int, str | None]]) -> None:
    """Write down what reading files came to: for each call what is wrong, or nothing."""
    connection.execute(
        text(
            "UPDATE recordings SET verified_at = clock_timestamp(), verify_problem = problem "
            "FROM unnest(cast(:ids AS bigint[]), cast(:problems AS text[])) AS read (call_id, problem) "
            # Retention may have been faster: a file it deleted is not missing.
            "WHERE recordings.call_id = read.call_id AND deleted_at IS NULL"
        ),
        {"ids": [call_id for call_id, _ in results], "problems": [problem for _, problem in results]},
    )


def count_problems(connection: Connection, *, began_at: datetime) -> int:
    """How many files a run found to differ, before and after it was interrupted."""
    query = (
        "SELECT count(*) FROM recordings WHERE state = 'stored' AND deleted_at IS NULL "
        "AND verify_problem IS NOT NULL AND verified_at >= :began_at"
    )
    return int(connection.execute(text(query), {"began_at": began_at}).scalar_one())


def _tell(connection: Connection, who: str, action: str, call_id: int | None, reason: str | None) -> None:
    connection.execute(
        text(
            "INSERT INTO actions (who, action, record_id, detail) VALUES (:who, :action, :call_id, "
            "  CASE WHEN cast(:reason AS text) IS NOT NULL "
            "       THEN jsonb_build_object('reason', cast(:reason AS text)) END)"
        ),
        {"who": who, "action": action, "call_id": call_id, "reason": reason},
    )
