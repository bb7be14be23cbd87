"""Holds: numbers of which nothing may be erased, whoever asks for it, until the hold is released."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.audit import record_action
from pipeline.database.tables import holds

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Hold(NamedTuple):
    """A number that is held."""

    held_at: datetime
    held_by: str
    because: str

    def __str__(self) -> str:
        """As an answer names it."""
        return f"the number is held since {self.held_at:%Y-%m-%d} by {self.held_by}: {self.because}"


def standing(connection: Connection, number: str) -> Hold | None:
    """The hold on an E.164 number; None: there is none."""
    of = holds.c
    query = select(of.held_at, of.held_by, of.because).where(of.number == number, of.released_at.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else Hold(*row)


def hold(connection: Connection, number: str, *, who: str, because: str) -> bool:
    """Hold a number; False when it was held already.

    Args:
        connection: the caller's transaction.
        number: E.164.
        who: does it.
        because: why, for the record.
    """
    row = insert(holds).values(number=number, held_by=who, because=because)
    once = row.on_conflict_do_nothing(index_elements=[holds.c.number], index_where=holds.c.released_at.is_(None))
    added = connection.scalar(once.returning(holds.c.id)) is not None
    if added:
        # Which number it is stands in the hold alone.
        record_action(connection, who, "number held", {"reason": because})
    return added


def release(connection: Connection, number: str, *, who: str, because: str) -> bool:
    """Let a number go again; False when it was not held. The arguments are those of `hold`."""
    ended = connection.execute(
        update(holds)
        .values(released_at=func.now(), released_by=who, released_because=because)
        .where(holds.c.number == number, holds.c.released_at.is_(None))
    ).rowcount
    if ended:
        record_action(connection, who, "number hold released", {"reason": because})
    return bool(ended)
