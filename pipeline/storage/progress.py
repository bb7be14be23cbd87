"""How far each batch has come: the step locks, the marks of steps done, and what is overdue."""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.storage.inbox import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection, Row


class Step(StrEnum):
    """The steps of a batch, in the order of the flow; the last two run side by side."""

    NORMALIZE = "normalize"
    CLASSIFY = "classify"
    BILL = "bill"
    SCHEDULE_RECORDINGS = "schedule_recordings"


MARK = {
    Step.NORMALIZE: "normalized_at",
    Step.CLASSIFY: "classified_at",
    Step.BILL: "billed_at",
    Step.SCHEDULE_RECORDINGS: "recordings_scheduled_at",
}
"""The column of ``batches`` that says when a step was done."""

DOWNSTREAM = {
    Step.NORMALIZE: tuple(Step),
    Step.CLASSIFY: (Step.CLASSIFY, Step.BILL, Step.SCHEDULE_RECORDINGS),
    Step.BILL: (Step.BILL,),
    Step.SCHEDULE_RECORDINGS: (Step.SCHEDULE_RECORDINGS,),
}
"""A step and all that follow from it."""

UPSTREAM = {
    Step.NORMALIZE: frozenset[Step](),
    Step.CLASSIFY: frozenset({Step.NORMALIZE}),
    Step.BILL: frozenset({Step.NORMALIZE, Step.CLASSIFY}),
    Step.SCHEDULE_RECORDINGS: frozenset({Step.NORMALIZE, Step.CLASSIFY}),
}
"""The steps that must be done before a step can be."""


class Progress(NamedTuple):
    """A batch and which of its steps are still to do."""

    batch: Batch
    undone: frozenset[Step]
    resends: int = 0
    """How often the reconciler sent the batch again since it last moved."""

    def next_steps(self) -> tuple[Step, ...]:
        """The steps to send now: the first undone one, or both last ones side by side.

        >>> Progress(Batch(1, "enigma", 2), frozenset(Step)).next_steps()
        (<Step.NORMALIZE: 'normalize'>,)
        >>> Progress(Batch(1, "enigma", 2), frozenset({Step.BILL})).next_steps()
        (<Step.BILL: 'bill'>,)
        """
        for step in (Step.NORMALIZE, Step.CLASSIFY):
            if step in self.undone:
                return (step,)
        return tuple(step for step in (Step.BILL, Step.SCHEDULE_RECORDINGS) if step in self.undone)


_COLUMNS = "id, source, records, resends, normalized_at, classified_at, billed_at, recordings_scheduled_at"


def _progress(row: Row[tuple[object, ...]]) -> Progress:
    undone = frozenset(step for step, column in MARK.items() if getattr(row, column) is None)
    return Progress(Batch(row.id, row.source, row.records), undone, row.resends)


def lock_step(connection: Connection, batch_id: int, step: Step) -> Progress | None:
    """Take a step of a batch for this transaction, waiting for whoever has it; None when there is no such batch.

    The same message delivered twice at once therefore works twice in a row, and the second finds nothing to do.
    """
    _lock(connection, batch_id, (step,))
    return read_progress(connection, batch_id)


def read_progress(connection: Connection, batch_id: int) -> Progress | None:
    """How far a batch has come; None when there is no such batch."""
    row = connection.execute(text(f"SELECT {_COLUMNS} FROM batches WHERE id = :id"), {"id": batch_id}).one_or_none()
    return None if row is None else _progress(row)


def _lock(connection: Connection, batch_id: int, steps: Iterable[Step]) -> None:
    for step in steps:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(batch_id, step)})


def _lock_key(batch_id: int, step: Step) -> int:
    order = list(Step)
    return batch_id * len(order) + order.index(step)


@contextlib.contextmanager
def step_held(connection: Connection, batch_id: int, step: Step) -> Iterator[None]:
    """Hold a step of a batch over several transactions; a connection that dies lets go of it."""
    key = {"key": _lock_key(batch_id, step)}
    connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
    connection.commit()
    try:
        yield
    except BaseException:
        connection.invalidate()  # the server lets go of it with the connection, whatever state that is in
        raise
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
    connection.commit()


def mark_done(connection: Connection, batch_id: int, step: Step, *, resend_after_seconds: float) -> Progress:
    """Mark a step done for the whole batch, finish the batch when it was the last, and say what is left."""
    others = " AND ".join(f"{column} IS NOT NULL" for other, column in MARK.items() if other is not step)
    row = connection.execute(
        text(
            f"UPDATE batches SET {MARK[step]} = clock_timestamp(), "
            f"finished_at = CASE WHEN {others} THEN clock_timestamp() END, "
            "due_at = now() + make_interval(secs => :resend_after), resends = 0 "
            f"WHERE id = :id RETURNING {_COLUMNS}"
        ),
        {"id": batch_id, "resend_after": resend_after_seconds},
    ).one()
    return _progress(row)


def reopen(connection: Connection, batch_id: int, step: Step) -> None:
    """Give a batch back to the reconciler from ``step`` on, because one of its records is to be tried again.

    Waits for steps of the batch that are running: they may have read the batch before the record was released.
    """
    _lock(connection, batch_id, DOWNSTREAM[step])
    marks = ", ".join(f"{MARK[each]} = NULL" for each in DOWNSTREAM[step])
    connection.execute(
        text(f"UPDATE batches SET {marks}, finished_at = NULL, due_at = now(), resends = 0 WHERE id = :id"),
        {"id": batch_id},
    )


def hurry(connection: Connection, batch_id: int) -> bool:
    """Have an unfinished batch sent again at the reconciler's next look; False when there is none of this id."""
    hurried = connection.execute(
        text("UPDATE batches SET due_at = now() WHERE id = :id AND finished_at IS NULL"), {"id": batch_id}
    )
    return hurried.rowcount > 0


def take_overdue(
    connection: Connection, *, limit: int, resend_after_seconds: float, longest_seconds: float = 300.0
) -> list[Progress]:
    """Batches whose message seems lost, oldest first; each is not due again for a growing, jittered while.

    Args:
        connection: the caller's transaction.
        limit: the most to take at once.
        resend_after_seconds: the wait after the first resend; it doubles with each one.
        longest_seconds: the longest wait between resends.
    """
    rows = connection.execute(
        text(
            "UPDATE batches SET resends = resends + 1, due_at = now() + make_interval("
            "  secs => least(:longest, :first * 2 ^ least(resends, 16)) * (0.75 + random() / 2)) "
            "WHERE id IN (SELECT id FROM batches WHERE finished_at IS NULL AND due_at <= now() "
            "             ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) "
            f"RETURNING {_COLUMNS}"
        ),
        {"limit": limit, "first": resend_after_seconds, "longest": longest_seconds},
    )
    return sorted((_progress(row) for row in rows), key=lambda progress: progress.batch.batch_id)
