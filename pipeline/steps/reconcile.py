"""What stands still is sent again, and failures that may be tried again are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.storage.bulk_actions import standing_bulk_actions
from pipeline.storage.failures import retry_due_bugs
from pipeline.storage.heartbeats import RECONCILER, beat
from pipeline.storage.progress import take_overdue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from pipeline.storage.progress import Progress


class Due(NamedTuple):
    """What was found to stand still."""

    overdue: list[Progress]
    """Batches to send again."""
    released: int
    """Failures released, whose batches are due at the next look."""
    bulk_actions: Sequence[int]
    """Ids of actions on many failures to send again."""


def reconcile(engine: Engine, *, limit: int, resend_after_seconds: float, who: str = "unknown") -> Due:
    """Find lost messages and due retries.

    Args:
        engine: the database.
        limit: the most batches, and the most failures, of one run.
        resend_after_seconds: the wait before a batch sent again is due again; it grows each time.
        who: where this runs, for whoever asks whether it still does.
    """
    with engine.begin() as connection:
        # First of all: where its table is missing, nothing may be taken that would then not be sent.
        beat(connection, RECONCILER, who=who)
        released = retry_due_bugs(connection, limit=limit)
    with engine.begin() as connection:
        overdue = take_overdue(connection, limit=limit, resend_after_seconds=resend_after_seconds)
        bulk_actions = standing_bulk_actions(connection, after_seconds=resend_after_seconds)
    return Due(overdue, released, bulk_actions)
