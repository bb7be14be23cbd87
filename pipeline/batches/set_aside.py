"""Records that a step set aside: why, since when, and whether they are to be tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.progress import lock_steps, opened_by, reopen_all, try_lock_steps
from pipeline.batches.rules.steps import Step
from pipeline.database.engine import execute
from pipeline.record_ids import PLACES, batch_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.batches.rules.failure import Failure


BUG_ATTEMPTS = 4
"""How often a bug is tried, the first time included, before it waits for a person."""


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
            "LEFT JOIN calls ON calls.id = new.record_id ORDER BY record_id "
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


class Waiting(NamedTuple):
    """A failure that may be released."""

    id: int
    record_id: int
    step: str

    @property
    def batch_id(self) -> int:
        """The batch its record came in."""
        return batch_of(self.record_id)

    @property
    def reopens(self) -> tuple[int, Step]:
        """The batch and the step from which it is done again."""
        return self.batch_id, Step(self.step)


def not_set_aside(record_id: str, step: Step) -> str:
    """A condition of what a step still has to do, in SQL: the record is not set aside at it.

    Args:
        record_id: the expression that names the record.
        step: the step, which knows the batch's bounds as ``first`` and ``last``.
    """
    return (
        f"NOT EXISTS (SELECT FROM failures AS f WHERE f.record_id = {record_id} "
        f"AND f.record_id BETWEEN %(first)s AND %(last)s AND f.step = '{step}' AND f.state IN ('open', 'discarded'))"
    )


def release(connection: Connection, failure_ids: Sequence[int]) -> int:
    """Release open failures to be tried again, and reopen their batches; returns how many.

    Waits for steps of these batches that are running.
    """
    failures = _find(connection, "id = ANY(cast(:ids AS bigint[]))", limit=len(failure_ids), ids=list(failure_ids))
    return _release(connection, failures)


def release_free(connection: Connection, failures: Sequence[Waiting]) -> tuple[int, list[Waiting]]:
    """Release failures whose batches nobody has in hand; returns how many, and those it passed over."""
    held = try_lock_steps(connection, opened_by(failure.reopens for failure in failures))
    released = _release(connection, [failure for failure in failures if failure.batch_id not in held])
    return released, [failure for failure in failures if failure.batch_id in held]


def free_at_first(connection: Connection, failures: Sequence[Waiting]) -> int:
    """How many of these, from the first on, can be released without waiting; their steps are held from now on."""
    held = try_lock_steps(connection, opened_by(failure.reopens for failure in failures))
    places = (place for place, failure in enumerate(failures) if failure.batch_id in held)
    return next(places, len(failures))


BUG_DUE: Final = "EXISTS (SELECT FROM failures WHERE state = 'open' AND retry_at <= now())"
"""Whether `retry_due_bugs` may find any, as SQL."""


def retry_due_bugs(connection: Connection, *, limit: int) -> int:
    """Release bugs whose next try is due, oldest first; returns how many.

    Passes over batches that somebody has in hand: nobody waits behind a worker that hangs.
    """
    held: set[int] = set()
    while True:
        condition = f"retry_at <= now() AND record_id / {PLACES} <> ALL(cast(:held AS bigint[]))"
        due = _find(connection, condition, order="retry_at, id", limit=limit, held=sorted(held))
        released, passed_over = release_free(connection, due)
        held.update(failure.batch_id for failure in passed_over)
        if released or not passed_over:
            return released


def waiting_for_reference(connection: Connection, *, failed_before: datetime, after: int, limit: int) -> list[Waiting]:
    """Failures that wait for reference data, such as a tariff, and have done so since before an instant.

    Args:
        connection: the database.
        failed_before: what was tried since is left out.
        after: the failures' ids are greater.
        limit: the most of them, by id.
    """
    condition = "class = 'reference' AND last_failed_at < :failed_before AND id > :after"
    return _find(connection, condition, limit=limit, failed_before=failed_before, after=after)


def _find(connection: Connection, condition: str, *, limit: int, order: str = "id", **values: object) -> list[Waiting]:
    rows = connection.execute(
        text(
            f"SELECT id, record_id, step FROM failures WHERE state = 'open' AND {condition} "
            f"ORDER BY {order} LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    return [Waiting(*row) for row in rows]


def _release(connection: Connection, failures: Iterable[Waiting]) -> int:
    # Steps are locked before failures are, and batches last: the order in which a step itself takes them.
    found = {failure.id: failure for failure in failures}
    lock_steps(connection, opened_by(failure.reopens for failure in found.values()))
    still_open = connection.execute(
        text(
            "SELECT id FROM failures WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'open' ORDER BY id FOR UPDATE"
        ),
        {"ids": list(found)},
    )
    ids = list(still_open.scalars())
    if ids:
        connection.execute(
            text("UPDATE failures SET state = 'retrying', retry_at = NULL WHERE id = ANY(cast(:ids AS bigint[]))"),
            {"ids": ids},
        )
        reopen_all(connection, {found[each].reopens for each in ids})
    return len(ids)
