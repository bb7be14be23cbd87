"""Records that a step set aside: why, since when, and whether they are to be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from sqlalchemy import text

from pipeline.storage.database import execute
from pipeline.storage.inbox import batch_of
from pipeline.storage.progress import Step, reopen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.storage.inbox import Span

FailureClass = Literal["data", "conflict", "reference", "bug"]

BUG_ATTEMPTS = 4
"""How often a bug is tried, the first time included, before it waits for a person."""


class Failure(NamedTuple):
    """One record that a step could not finish."""

    record_id: int
    failure_class: FailureClass
    reason: str
    field: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    again: bool = True
    """Whether a bug may be tried again by itself."""
    call_ref: str | None = None
    """Only for a record that is no call yet; of a call it is known."""
    campaign_ref: str | None = None


def set_aside(connection: Connection, source: str, step: Step, failures: Sequence[Failure]) -> None:
    """Store failures of a step of a source, so that their batch goes on without them.

    A record that fails again adds to its row. A bug gets a time for its next try, later each time, up to
    ``BUG_ATTEMPTS``; the other classes wait for what would change the outcome.
    """
    if not failures:
        return
    connection.execute(
        text(
            "INSERT INTO failures AS f (record_id, step, class, state, source, call_ref, campaign_ref, "
            "  field, reason, error_type, traceback, retry_at) "
            "SELECT record_id, :step, class, 'open', :source, coalesce(calls.call_ref, new.call_ref), "
            "       coalesce(calls.campaign_ref, new.campaign_ref), field, reason, error_type, traceback, "
            "       CASE WHEN class = 'bug' AND again THEN now() + interval '10 seconds' END "
            "FROM unnest(cast(:record_ids AS bigint[]), cast(:classes AS text[]), cast(:fields AS text[]), "
            "            cast(:reasons AS text[]), cast(:error_types AS text[]), cast(:tracebacks AS text[]), "
            "            cast(:again AS boolean[]), cast(:call_refs AS text[]), cast(:campaign_refs AS text[])) "
            "     AS new (record_id, class, field, reason, error_type, traceback, again, call_ref, campaign_ref) "
            "LEFT JOIN calls ON calls.id = new.record_id "
            "ON CONFLICT (record_id, step) DO UPDATE SET class = excluded.class, state = 'open', "
            "  call_ref = excluded.call_ref, campaign_ref = excluded.campaign_ref, "
            "  field = excluded.field, reason = excluded.reason, error_type = excluded.error_type, "
            "  traceback = excluded.traceback, attempts = f.attempts + 1, last_failed_at = now(), "
            "  retry_at = CASE WHEN excluded.retry_at IS NOT NULL AND f.attempts + 1 < :bug_attempts "
            "                  THEN now() + interval '10 seconds' * 6 ^ least(f.attempts, 4) END"
        ),
        {
            "source": source,
            "step": step.value,
            "bug_attempts": BUG_ATTEMPTS,
            "record_ids": [failure.record_id for failure in failures],
            "classes": [failure.failure_class for failure in failures],
            "fields": [failure.field for failure in failures],
            "reasons": [failure.reason for failure in failures],
            "error_types": [failure.error_type for failure in failures],
            "tracebacks": [failure.traceback for failure in failures],
            "again": [failure.again for failure in failures],
            "call_refs": [failure.call_ref for failure in failures],
            "campaign_refs": [failure.campaign_ref for failure in failures],
        },
    )


def resolve_retried(connection: Connection, span: Span, step: Step) -> None:
    """Close the failures of a step which were to be tried again and did not fail again."""
    execute(
        connection,
        "UPDATE failures SET state = 'resolved', retry_at = NULL "
        "WHERE record_id BETWEEN %(first)s AND %(last)s AND step = %(step)s AND state = 'retrying'",
        {**span.bounds, "step": step.value},
    )


def release(connection: Connection, failure_ids: Sequence[int]) -> int:
    """Release open failures to be tried again, and reopen their batches; returns how many."""
    return _release(connection, "id = ANY(cast(:ids AS bigint[]))", {"ids": list(failure_ids)}, len(failure_ids))


def retry_due_bugs(connection: Connection, *, limit: int) -> int:
    """Release bugs whose next try is due; returns how many."""
    return _release(connection, "retry_at <= now()", {}, limit)


def retry_references(connection: Connection, *, limit: int) -> int:
    """Release failures that waited for reference data, such as a tariff; returns how many."""
    return _release(connection, "class = 'reference'", {}, limit)


def _release(connection: Connection, condition: str, values: dict[str, object], limit: int) -> int:
    # Steps are locked before failures are: the order in which a step itself takes them.
    rows = connection.execute(
        text(f"SELECT record_id, step FROM failures WHERE state = 'open' AND {condition} ORDER BY id LIMIT :limit"),
        {**values, "limit": limit},
    ).all()
    for batch_id, step in sorted({(batch_of(row.record_id), Step(row.step)) for row in rows}):
        reopen(connection, batch_id, step)
    released = connection.execute(
        text(
            "UPDATE failures SET state = 'retrying', retry_at = NULL "
            "FROM unnest(cast(:record_ids AS bigint[]), cast(:steps AS text[])) AS chosen (record_id, step) "
            "WHERE failures.record_id = chosen.record_id AND failures.step = chosen.step AND failures.state = 'open'"
        ),
        {"record_ids": [row.record_id for row in rows], "steps": [row.step for row in rows]},
    )
    return int(released.rowcount)
