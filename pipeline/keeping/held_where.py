"""What is held, listed: all of it for people, or in a range of records for whoever would drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select, text

from pipeline.database.tables import calls, holds, recordings

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Held(NamedTuple):
    """A hold that stands; of a number, a call, or a recording's file."""

    what: str
    """``number``, ``call`` or ``recording``."""
    number: str | None
    source: str | None
    call_ref: str | None
    held_at: datetime
    held_by: str
    because: str | None
    """Of a recording it is with the action (`pipeline explain`)."""


def all_held(connection: Connection) -> list[Held]:
    """All holds that stand, of numbers, calls and recordings, the oldest first."""
    of, call, file = holds.c, calls.c, recordings.c
    both = connection.execute(
        select(of.number, call.source, call.call_ref, of.held_at, of.held_by, of.because)
        .join_from(holds, calls, call.id == of.call_id, isouter=True)
        .where(of.released_at.is_(None))
    )
    files = connection.execute(
        select(file.source, file.call_ref, file.held_at, file.held_by).where(file.held_at.is_not(None))
    )
    found = [Held("call" if row.number is None else "number", *row) for row in both]
    found += [Held("recording", None, *row, None) for row in files]
    return sorted(found, key=lambda each: each.held_at)


class HeldIn(NamedTuple):
    """How many calls with a record in a range are held, and one of them."""

    calls: int
    example: str | None
    """Its dialler and reference."""


def held_in(connection: Connection, first_record: int, last_record: int) -> HeldIn:
    """What is held of a range of record ids: calls, by themselves, by their number or their recording.

    A call that came before counts where a record of it, a duplicate or a version that was accepted, is in the range.

    Args:
        connection: the database.
        first_record: the lowest id of the range.
        last_record: the highest.
    """
    row = connection.execute(_IN_RANGE, {"first": first_record, "last": last_record}).one()
    return HeldIn(row.calls, row.example)


# SQL: each part is one key range, or a look-up for each of the few that are held.
_IN_RANGE: Final = text(
    """
    WITH held AS (
        SELECT call_id FROM holds WHERE released_at IS NULL AND call_id IS NOT NULL
        UNION
        SELECT calls.id FROM holds JOIN calls
        ON left(reverse(client_number), 7) = left(reverse(number), 7) AND client_number = number
        WHERE released_at IS NULL
    ), found AS (
        SELECT call_id FROM held WHERE call_id BETWEEN :first AND :last
        UNION
        SELECT call_id FROM recordings WHERE call_id BETWEEN :first AND :last AND held_at IS NOT NULL
        UNION
        SELECT call_id FROM duplicates JOIN held USING (call_id) WHERE record_id BETWEEN :first AND :last
        UNION
        SELECT call_id FROM revisions JOIN held USING (call_id) WHERE record_id BETWEEN :first AND :last
    )
    SELECT count(*) AS calls, min('call ' || call_ref || ' of ' || source) AS example
    FROM found LEFT JOIN calls ON calls.id = call_id
    """
)
