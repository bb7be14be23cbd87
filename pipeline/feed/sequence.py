"""Positions of the feed: given after commit, by one at a time, gapless, in an order that never changes.

Batches finish out of order, and a row becomes visible when its transaction commits, not when its id was taken. Whoever
reads on from the highest id, or from a number taken inside the transaction, passes over what commits late and never
learns of it. Here a row has no position before everybody can see it, and whoever reads, reads positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.database.engine import reading, unless_held

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SEQUENCER_LOCK: Final = 712_004_318
"""An advisory lock; any number will do that nobody else here takes, and that is no step's."""

ROWS_AT_ONCE: Final = 2_000


def place(engine: Engine) -> int:
    """Give a position to every row that can be seen and has none; returns how many those were.

    What happened to a single call waits until its batch has come to rest: a call that was corrected is told when it is
    charged anew, and never before it was told at all. Where somebody is placing and takes long, it is left to them.

    Args:
        engine: the database.
    """
    with reading(engine) as connection:
        if not any_unplaced(connection):
            return 0
    placed = 0
    while True:
        done = 0
        with unless_held(engine) as connection:
            done = _place_some(connection)
        placed += done
        if done < ROWS_AT_ONCE:
            return placed


def any_unplaced(connection: Connection) -> bool:
    """Whether anything that can be seen has no position."""
    return bool(connection.scalar(_UNPLACED))


ANY_UNPLACED: Final = "EXISTS (SELECT FROM feed WHERE position IS NULL)"
"""Whether anything that can be seen has no position, as SQL."""
_UNPLACED: Final = text(f"SELECT {ANY_UNPLACED}")


def _place_some(connection: Connection) -> int:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SEQUENCER_LOCK})
    # A statement of its own after the lock, so that it sees what whoever held it before has placed.
    return int(connection.execute(_PLACE, {"limit": ROWS_AT_ONCE}).rowcount)


# SQL: one statement; batches first, so that what happened to a call of one comes after it.
_PLACE: Final = text(
    "UPDATE feed SET position = head.position + ready.nth "
    "FROM (SELECT id, row_number() OVER (ORDER BY call_id IS NOT NULL, id) AS nth FROM feed "
    "      WHERE position IS NULL AND NOT EXISTS ("
    "        SELECT FROM batches WHERE batches.id = feed.call_id >> 16 AND batches.finished_at IS NULL) "
    "      ORDER BY call_id IS NOT NULL, id LIMIT :limit) AS ready, "
    "     (SELECT coalesce(max(position), 0) AS position FROM feed) AS head "
    "WHERE feed.id = ready.id"
)


def head(connection: Connection) -> int:
    """The newest position; 0 when nothing has one."""
    return int(connection.scalar(text("SELECT coalesce(max(position), 0) FROM feed")))
