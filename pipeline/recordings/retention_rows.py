"""What becomes of recordings after they ended: tried again, held, verified, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.database.audit import record_action

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
            f"  SELECT call_id, state, reason, attempts, starts_with(call_ref, '{NAMELESS}') AS nameless "
            "  FROM recordings "
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


def end_hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Let retention have a recording again; False when it was not held."""
    result = connection.execute(
        text("UPDATE recordings SET held_at = NULL, held_by = NULL WHERE call_id = :call_id AND held_at IS NOT NULL"),
        {"call_id": call_id},
    )
    if result.rowcount:
        _tell(connection, who, "recording hold released", call_id, reason)
    return bool(result.rowcount)


def now(connection: Connection) -> datetime:
    """The database's clock."""
    at: datetime = connection.execute(text("SELECT now()")).scalar_one()
    return at


def take_expired(
    connection: Connection,
    *,
    older_than_days: int,
    limit: int,
    source: str | None = None,
    tried_before: datetime | None = None,
) -> list[KeptFile]:
    """Stored files past their retention and not held, locked until the end of the transaction.

    Args:
        connection: the caller's transaction.
        older_than_days: by when the calls were dialled.
        limit: the most to take.
        source: only this dialler's, for only its own workers have its store; None: all.
        tried_before: those that could not be deleted before then, longest ago first; None: those that were never tried,
            oldest call first.
    """
    # Rows that code older than the column stored. There are none of them soon, and then an index says so.
    connection.execute(
        text(
            "UPDATE recordings SET dialed_at = calls.dialed_at FROM calls "
            "WHERE state = 'stored' AND deleted_at IS NULL AND recordings.dialed_at IS NULL AND calls.id = call_id"
        )
    )
    tried, order = "delete_tried_at IS NULL", "dialed_at"
    if tried_before is not None:
        tried, order = "delete_tried_at < :tried_before", "delete_tried_at"
    rows = connection.execute(
        text(
            "SELECT call_id, source, call_ref, path, size_bytes, sha256 FROM recordings "
            "WHERE state = 'stored' AND deleted_at IS NULL AND held_at IS NULL "
            "  AND dialed_at < now() - make_interval(days => :days) "
            f"  AND (cast(:source AS text) IS NULL OR source = :source) AND {tried} "
            f"ORDER BY {order} LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"days": older_than_days, "limit": limit, "source": source, "tried_before": tried_before},
    )
    return [KeptFile(*row) for row in rows]


def mark_deleted(connection: Connection, call_ids: Sequence[int], *, reason: str) -> None:
    """Write down that files are gone."""
    connection.execute(
        text(
            "UPDATE recordings SET deleted_at = clock_timestamp(), deleted_reason = :reason, verify_problem = NULL, "
            "  delete_tried_at = NULL, delete_problem = NULL "
            "WHERE call_id = ANY(cast(:call_ids AS bigint[]))"
        ),
        {"call_ids": list(call_ids), "reason": reason},
    )


def mark_undeleted(connection: Connection, problems: Sequence[tuple[int, str]]) -> None:
    """Write down which files could not be deleted, and why."""
    connection.execute(
        text(
            "UPDATE recordings SET delete_tried_at = clock_timestamp(), delete_problem = problem "
            "FROM unnest(cast(:ids AS bigint[]), cast(:problems AS text[])) AS tried (call_id, problem) "
            "WHERE recordings.call_id = tried.call_id"
        ),
        {"ids": [call_id for call_id, _ in problems], "problems": [problem for _, problem in problems]},
    )


def begin_verification(
    connection: Connection, *, who: str, source: str, afresh: bool
) -> tuple[int, datetime, bool, int]:
    """The run over a dialler's files to go on with, or a new one.

    Returns its id, when it began, whether it had begun before, and how many wrong marks were cleared.
    """
    cleared = _clear_wrong_marks(connection, source)
    # One of older code is of no one dialler, and nobody goes on with it.
    connection.execute(
        text(
            "UPDATE recording_verifications SET ended_at = now() "
            "WHERE ended_at IS NULL AND (source IS NULL OR (:afresh AND source = :source))"
        ),
        {"source": source, "afresh": afresh},
    )
    row = connection.execute(
        text(
            "SELECT id, began_at FROM recording_verifications WHERE ended_at IS NULL AND source = :source "
            "ORDER BY id LIMIT 1"
        ),
        {"source": source},
    ).one_or_none()
    if row is not None:
        return row.id, row.began_at, True, cleared
    row = connection.execute(
        text("INSERT INTO recording_verifications (who, source) VALUES (:who, :source) RETURNING id, began_at"),
        {"who": who, "source": source},
    ).one()
    reason = f"{cleared} mark(s) of other diallers' files by older code were cleared" if cleared else None
    _tell(connection, who, "recordings verification begun", None, reason)
    return row.id, row.began_at, False, cleared


def _clear_wrong_marks(connection: Connection, source: str) -> int:
    """Forget what older code found of other diallers' files; returns how many it said differ.

    It read them all in the store of whoever ran it. Whose that was is not known, so they count as not verified until
    their own dialler's environment has. What it said of our own is written anew by this run.
    """
    result = connection.execute(
        text(
            "UPDATE recordings SET verified_at = NULL, verify_problem = NULL "
            "WHERE source <> :source AND verify_problem IS NOT NULL AND EXISTS ("
            "  SELECT FROM recording_verifications AS run WHERE run.source IS NULL "
            "  AND recordings.verified_at BETWEEN run.began_at AND coalesce(run.ended_at, now()))"
        ),
        {"source": source},
    )
    return int(result.rowcount)


def end_verification(connection: Connection, run_id: int) -> None:
    """The run has seen everything."""
    connection.execute(
        text("UPDATE recording_verifications SET ended_at = clock_timestamp() WHERE id = :id"), {"id": run_id}
    )


_UNVERIFIED = (
    "source = :source AND state = 'stored' AND deleted_at IS NULL AND ended_at < :began_at "
    "AND (verified_at IS NULL OR verified_at < :began_at)"
)


def count_unverified(connection: Connection, *, source: str, began_at: datetime) -> tuple[int, int]:
    """How many of a dialler's files, and bytes, a run still has to read."""
    row = connection.execute(
        text(f"SELECT count(*), coalesce(sum(size_bytes), 0)::bigint FROM recordings WHERE {_UNVERIFIED}"),
        {"source": source, "began_at": began_at},
    ).one()
    return row[0], row[1]


def next_unverified(
    connection: Connection, *, source: str, began_at: datetime, after: int, limit: int
) -> list[KeptFile]:
    """A dialler's files that a run still has to read, in the order of their calls."""
    rows = connection.execute(
        text(
            f"SELECT call_id, source, call_ref, path, size_bytes, sha256 FROM recordings WHERE {_UNVERIFIED} "
            "AND call_id > :after ORDER BY call_id LIMIT :limit"
        ),
        {"source": source, "began_at": began_at, "after": after, "limit": limit},
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


def _tell(connection: Connection, who: str, action: str, call_id: int | None, reason: str | None) -> None:
    record_action(connection, who, action, None if reason is None else {"reason": reason}, record_id=call_id)
