"""Whether a tick is worth sending: what beat asks before it does, in its own process."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from pipeline.batches import reconcile
from pipeline.batches.rules.steps import RESEND_AFTER_SECONDS
from pipeline.database.engine import reading
from pipeline.failures.bulk_rows import ANY_STANDING
from pipeline.feed import cursors, replays
from pipeline.feed.sequence import ANY_UNPLACED
from pipeline.monitoring.heartbeats import RECONCILER
from pipeline.recordings import queue as recordings
from pipeline.tasks.resources import engine

# SQL: one question, which is most of what beat costs. What nobody reads of the feed can wait; a replay goes on by
# itself, also one of a subscriber that has expired and is to nobody else.
_ANYTHING_DUE: Final = text(
    f"SELECT {reconcile.DUE} OR {ANY_STANDING} OR {replays.ANY_DUE} OR {cursors.ANY_DUE} "
    f"OR ({cursors.ANYBODY} AND {ANY_UNPLACED}) OR {recordings.ANY_DUE}"
)


def recording_due() -> bool:
    """Whether a recording could be asked for now."""
    with reading(engine()) as connection:
        return bool(connection.scalar(_RECORDING_DUE))


_RECORDING_DUE: Final = text(f"SELECT {recordings.ANY_DUE}")


def anything_due() -> bool:
    """Whether the reconciler would find anything, or has to show that it lives.

    At rest this is all that happens: no message, and no worker woken to find that there is nothing.
    """
    with reading(engine()) as connection:
        values = {"beating": RECONCILER, "standing": RESEND_AFTER_SECONDS}
        return bool(connection.scalar(_ANYTHING_DUE, values))
