"""Holds: numbers and calls of which nothing goes, whoever asks for it, until the hold is released.

Neither is erased, nor a recording of it deleted by its age, nor a range dropped that has a record of it. A recording
can be held by itself, too (`pipeline/recordings/operator.py`); that holds no more than its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.audit import record_action
from pipeline.database.narrowing import among
from pipeline.database.tables import calls, holds, recordings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

_STANDS = holds.c.released_at.is_(None)


class Hold(NamedTuple):
    """Since when, by whom and why something is held."""

    held_at: datetime
    held_by: str
    because: str

    def __str__(self) -> str:
        """As an answer names it."""
        return f"since {self.held_at:%Y-%m-%d} by {self.held_by}: {self.because}"


class HeldCall(NamedTuple):
    """A call that is held."""

    source: str
    call_ref: str
    hold: Hold

    def __str__(self) -> str:
        """As an answer names it."""
        return f"call {self.call_ref} of {self.source} is held {self.hold}"


_COLUMNS = [holds.c[name] for name in Hold._fields]


def standing(connection: Connection, number: str) -> Hold | None:
    """The hold on an E.164 number; None: there is none."""
    row = connection.execute(select(*_COLUMNS).where(holds.c.number == number, _STANDS)).one_or_none()
    return None if row is None else Hold(*row)


def held_calls(connection: Connection, call_ids: Sequence[int]) -> list[HeldCall]:
    """Those of some calls that are held themselves, by id."""
    of = calls.c
    rows = connection.execute(
        select(of.source, of.call_ref, *_COLUMNS)
        .join_from(holds, calls, of.id == holds.c.call_id)
        .where(among(holds.c.call_id, call_ids), _STANDS)
        .order_by(of.id)
    )
    return [HeldCall(source, call_ref, Hold(*hold)) for source, call_ref, *hold in rows]


def file_deleted_at(connection: Connection, call_id: int) -> datetime | None:
    """When the file of a call's recording was deleted; None: it was not, or there was none."""
    of = recordings.c
    return connection.scalar(select(of.deleted_at).where(of.call_id == call_id))


def hold_number(connection: Connection, number: str, *, who: str, because: str) -> bool:
    """Hold a number; False when it was held already.

    Args:
        connection: the caller's transaction.
        number: E.164.
        who: does it.
        because: why, for the record.
    """
    of = calls.c
    ends = func.left(func.reverse(of.client_number), 7) == func.left(func.reverse(number), 7)
    _wait_for_retention(connection, select(of.id).where(ends, of.client_number == number))
    # Which number it is stands in the hold alone.
    return _hold(connection, holds.c.number, number, who, because, told="number held")


def hold_call(connection: Connection, call_id: int, *, who: str, because: str) -> bool:
    """Hold one call with all that belongs to it; False when it was held already.

    Args:
        connection: the caller's transaction.
        call_id: the call.
        who: does it.
        because: why, for the record.
    """
    _wait_for_retention(connection, select(literal(call_id, BigInteger)))
    return _hold(connection, holds.c.call_id, call_id, who, because, told="call held", record_id=call_id)


def release_number(connection: Connection, number: str, *, who: str, because: str) -> bool:
    """Let a number go again; False when it was not held. The arguments are those of `hold_number`."""
    return _release(connection, holds.c.number == number, who, because, told="number hold released")


def release_call(connection: Connection, call_id: int, *, who: str, because: str) -> bool:
    """Let a call go again; False when it was not held itself. The arguments are those of `hold_call`."""
    released = holds.c.call_id == call_id
    return _release(connection, released, who, because, told="call hold released", record_id=call_id)


def _wait_for_retention(connection: Connection, call_ids: Select[tuple[int]]) -> None:
    """Let whoever deletes files of these calls end: what they take later they look at again (`held_by_now`)."""
    of = recordings.c
    connection.execute(select(of.call_id).where(of.call_id.in_(call_ids)).order_by(of.call_id).with_for_update())


def _hold(
    connection: Connection,
    column: Any,
    value: str | int,
    who: str,
    because: str,
    *,
    told: str,
    record_id: int | None = None,
) -> bool:
    row = insert(holds).values({column.name: value, "held_by": who, "because": because})
    once = row.on_conflict_do_nothing(index_elements=[column], index_where=_STANDS)
    added = connection.scalar(once.returning(holds.c.id)) is not None
    if added:
        record_action(connection, who, told, {"reason": because}, record_id=record_id)
    return added


def _release(
    connection: Connection,
    which: ColumnElement[bool],
    who: str,
    because: str,
    *,
    told: str,
    record_id: int | None = None,
) -> bool:
    ended = connection.execute(
        update(holds).values(released_at=func.now(), released_by=who, released_because=because).where(which, _STANDS)
    ).rowcount
    if ended:
        record_action(connection, who, told, {"reason": because}, record_id=record_id)
    return bool(ended)
