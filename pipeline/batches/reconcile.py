"""What stands still is sent again, and failures that may be tried again are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.progress import OVERDUE, take_overdue
from pipeline.batches.set_aside import BUG_DUE, retry_due_bugs
from pipeline.database.engine import reading, unless_held
from pipeline.monitoring.heartbeats import BEATEN, RECONCILER, beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.batches.rules.steps import Progress


class Due(NamedTuple):
    """What was found to stand still."""

    overdue: list[Progress]
    """Batches that were sent again, or are to be."""
    released: int
    """Failures released, whose batches are due at the next look."""


def reconcile(
    engine: Engine,
    *,
    limit: int,
    resend_after_seconds: float,
    who: str = "unknown",
    send: Callable[[Progress], None] | None = None,
) -> Due:
    """Find lost messages and due retries.

    What stands still comes first, and is sent before anything else is looked at: whatever of the rest is held up,
    calls go on. Nothing here waits for a step that somebody has in hand. All instants are the database's: what a
    worker's clock or beat's says does not matter.

    Args:
        engine: the database.
        limit: the most batches, and the most failures, of one run.
        resend_after_seconds: the wait before a batch sent again is due again; it grows each time.
        who: where this runs, for whoever asks whether it still does.
        send: sends an overdue batch again; without it, that is for whoever reads the answer.
    """
    with reading(engine) as connection:
        any_overdue, any_bug_due, beaten = connection.execute(_LOOK, {"beating": RECONCILER}).one()
    overdue: list[Progress] = []
    if any_overdue:
        with engine.begin() as connection:
            overdue = take_overdue(connection, limit=limit, resend_after_seconds=resend_after_seconds)
    if send is not None:
        for progress in overdue:
            send(progress)
    if not beaten:
        with unless_held(engine) as connection:
            beat(connection, RECONCILER, who=who)
    released = 0
    if any_bug_due:
        with unless_held(engine) as connection:
            released = retry_due_bugs(connection, limit=limit)
    return Due(overdue, released)


DUE: Final = f"{OVERDUE} OR {BUG_DUE} OR NOT {BEATEN}"
"""Whether a look would find anything, or the last sign of life, that of `:beating`, is old; as SQL."""

# SQL: nearly always nothing is due, and one question says so.
_LOOK: Final = text(f"SELECT {OVERDUE}, {BUG_DUE}, {BEATEN}")
