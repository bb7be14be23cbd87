"""What a person may do about failures: retry, discard, restore, edit, accept. Each leaves a line in ``actions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.batches.progress import lock_steps, opened_by, reopen
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import release
from pipeline.calls.rules.cdr import read_cdr
from pipeline.database.audit import record_actions
from pipeline.database.feed_log import tell
from pipeline.errors import PipelineError
from pipeline.failures import deliveries
from pipeline.failures.conflicts import accept_conflict, read_conflict
from pipeline.failures.listing import FailureFilter, list_failures
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Row

    from pipeline.failures.conflicts import Accepted
    from pipeline.failures.listing import Failure

CHUNK = 100
"""Failures handled in one transaction, so that thousands of them hold few locks, and none for long."""


class RefusedError(PipelineError):
    """What was asked for makes no sense for this failure; its text says why."""


def retry(engine: Engine, wanted: FailureFilter, *, who: str, reason: str | None = None) -> Iterator[int]:
    """Release every open failure that matches, a chunk at a time; yields how many each chunk held.

    A failure that fails again meanwhile has been tried, and is not released a second time.
    """
    return _in_chunks(engine, wanted, lambda connection, page: retry_page(connection, page, who=who, reason=reason))


def retry_page(connection: Connection, page: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Release those of these failures that are open; returns how many."""
    records, refused = deliveries.apart(page)
    released = release(connection, [failure.id for failure in records])
    record_actions(connection, who, "retry", [failure.record_id for failure in records], reason)
    return released + deliveries.retry(connection, refused, who=who, reason=reason)


def discard(engine: Engine, wanted: FailureFilter, *, who: str, reason: str) -> Iterator[int]:
    """Give every open failure that matches up, until somebody restores it; yields how many each chunk held.

    The record stays in the inbox and is counted as discarded, with the reason and who gave it.
    """
    return _in_chunks(engine, wanted, lambda connection, page: discard_page(connection, page, who=who, reason=reason))


def discard_page(connection: Connection, page: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Give those of these failures up that are open; returns how many."""
    records, refused = deliveries.apart(page)
    discarded = connection.execute(
        text(
            # By id, as whoever releases them takes them.
            "WITH chosen AS (SELECT id FROM failures WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'open' "
            "                ORDER BY id FOR UPDATE) "
            "UPDATE failures SET state = 'discarded', retry_at = NULL "
            "WHERE id IN (SELECT id FROM chosen) RETURNING record_id"
        ),
        {"ids": [failure.id for failure in records]},
    ).scalars()
    record_ids = list(discarded)
    record_actions(connection, who, "discard", record_ids, reason)
    return len(record_ids) + deliveries.discard(connection, refused, who=who, reason=reason)


def restore(engine: Engine, wanted: FailureFilter, *, who: str, reason: str | None = None) -> Iterator[int]:
    """Take back that failures were discarded; yields how many each chunk held.

    They are open again and wait for somebody, and their records are counted as before: quarantined or failed.
    """
    return _in_chunks(
        engine,
        wanted,
        lambda connection, page: restore_page(connection, page, who=who, reason=reason),
        states=("discarded",),
    )


def restore_page(connection: Connection, page: Sequence[Failure], *, who: str, reason: str | None) -> int:
    """Open those of these failures again that are discarded; returns how many."""
    records, refused = deliveries.apart(page)
    found = connection.execute(
        text(
            "SELECT id, record_id FROM failures WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'discarded' "
            "ORDER BY id FOR UPDATE"
        ),
        {"ids": [failure.id for failure in records]},
    ).all()
    # Who does it is written down first: the database looks for it, failure by failure.
    record_actions(connection, who, "restore", [row.record_id for row in found], reason)
    connection.execute(
        text("UPDATE failures SET state = 'open' WHERE id = ANY(cast(:ids AS bigint[]))"),
        {"ids": [row.id for row in found]},
    )
    return len(found) + deliveries.restore(connection, refused, who=who, reason=reason)


def edit(engine: Engine, failure_id: int, raw: bytes, *, who: str, region: str, now: datetime) -> None:
    """Put other bytes in the place of a quarantined record's and retry it; the bytes as received are kept.

    Args:
        engine: the database.
        failure_id: an open data failure.
        raw: the record as it should have been.
        who: the operator.
        region: where national numbers belong.
        now: the present instant, aware.

    Raises:
        DataError: the new bytes are no good record either; nothing was stored.
        RefusedError: the failure is not one that an edit can mend.
    """
    read_cdr(raw, region=region, now=now)
    with engine.begin() as connection:
        failure = _open_failure(connection, failure_id)
        # A step takes itself first and then its failures; whoever does it the other way round waits for it crosswise.
        lock_steps(connection, opened_by([(batch_of(failure.record_id), Step(failure.step))]))
        failure = _open_failure(connection, failure_id, lock=True)
        if failure.step != Step.NORMALIZE.value:
            raise RefusedError(f"failure {failure_id} is of a call that is stored already: only a record can be edited")
        connection.execute(
            text(
                "INSERT INTO edits (record_id, revision, raw, edited_by) "
                "SELECT :record_id, coalesce(max(revision), 0) + 1, :raw, :who FROM edits WHERE record_id = :record_id"
            ),
            {"record_id": failure.record_id, "raw": raw, "who": who},
        )
        release(connection, [failure_id])
        record_actions(connection, who, "edit", [failure.record_id])


def accept(engine: Engine, failure_id: int, *, who: str) -> Accepted:
    """Let a changed record take the place of the stored version of its call.

    The charge in force is reversed, and the call is classified and charged anew. The version before is kept, and a
    replay of it counts as a duplicate from now on.

    Args:
        engine: the database.
        failure_id: an open conflict.
        who: the operator.

    Raises:
        RefusedError: the failure is no open conflict, or was noticed by a version that did not keep what the record
            says; then it is read again.
    """
    with engine.begin() as connection:
        conflict = read_conflict(connection, failure_id)
        if conflict is None:
            _open_failure(connection, failure_id)
            raise RefusedError(f"failure {failure_id} is no conflict: retry it, edit it or discard it")
        if conflict.is_read:
            reopen(connection, batch_of(conflict.call_id), Step.CLASSIFY)
            _open_failure(connection, failure_id, lock=True)  # after the steps, as everybody; and it may be gone by now
            accepted = accept_conflict(connection, failure_id, who)
            tell(connection, "call.corrected", [(conflict.call_id, conflict.record_id)])
            return accepted
        release(connection, [failure_id])
        record_actions(connection, who, "retry", [conflict.record_id])
    raise RefusedError(
        f"failure {failure_id} was set aside by a version that did not keep what the record says: "
        "it is being read again, accept it in a moment"
    )


def _in_chunks(
    engine: Engine,
    wanted: FailureFilter,
    act: Callable[[Connection, list[Failure]], int],
    *,
    states: tuple[str, ...] = ("open",),
) -> Iterator[int]:
    """Do something to every failure in these states that matches, a chunk a transaction; yields each one's count."""
    after = 0
    while True:
        with engine.begin() as connection:
            page = list_failures(connection, wanted._replace(states=states), limit=CHUNK, after=after)
            if not page:
                return
            count = act(connection, page)
            after = page[-1].id
        yield count


def _open_failure(connection: Connection, failure_id: int, *, lock: bool = False) -> Row[tuple[Any, ...]]:
    row = connection.execute(
        text(
            f"SELECT record_id, step, class, state, source FROM failures WHERE id = :id {'FOR UPDATE' if lock else ''}"
        ),
        {"id": failure_id},
    ).one_or_none()
    if row is None and deliveries.is_delivery(connection, failure_id):
        raise RefusedError(f"failure {failure_id} is of an event that a subscriber refused: retry it or discard it")
    if row is None:
        raise RefusedError(f"there is no failure {failure_id}")
    if row.state != "open":
        raise RefusedError(f"failure {failure_id} is {row.state}, no longer open")
    return row
