"""Where calls stand in the archive, as the database knows: the part of one, and what a search cannot find any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Date, cast, exists, func, select

from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import archive_parts, calls
from pipeline.lookup.rules.call_filter import NO_WALL

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy import Connection

    from pipeline.database.narrowing import Conditions
    from pipeline.lookup.rules.call_filter import CallFilter, Wall


class ArchivedIn(NamedTuple):
    """The part that a call is in."""

    month: str
    part: str
    written_at: datetime


class OnlyArchived(NamedTuple):
    """Days of a month of which calls are in the archive and not in the database."""

    source: str
    month: str
    first_day: date
    last_day: date
    days: int
    calls: int
    """In the archive; some of them may be in the database still."""


_DAY_OF = cast(func.timezone("UTC", calls.c.dialed_at), Date)


def archived_in(connection: Connection, call_id: int) -> ArchivedIn | None:
    """Where a call is archived that the database has, too; None: nowhere yet.

    Args:
        connection: the database.
        call_id: the call's id.
    """
    of = archive_parts.c
    found = connection.execute(
        select(of.month, of.name, of.written_at)
        .join(calls, (calls.c.source == of.source) & (of.day == _DAY_OF))
        .where(calls.c.id == call_id, of.replaced_at.is_(None), calls.c.id.between(of.first_record, of.last_record))
        # One that came after its day was written is not in there yet.
        .where(calls.c.normalized_at <= of.written_at)
    ).one_or_none()
    return None if found is None else ArchivedIn(*found)


def only_archived(connection: Connection, wanted: CallFilter, wall: Wall = NO_WALL) -> list[OnlyArchived]:
    """The days of a filter's time that are not whole in the database any more, by month.

    A search finds what the database has. Calls are dropped by ranges of ids, the oldest first: a day whose first call
    is gone is not whole.

    Args:
        connection: the database.
        wanted: the filter; its time and its dialler are looked at.
        wall: what this reader may see; of its diallers alone is anything said.
    """
    of = archive_parts.c
    conditions: Conditions = {
        "source": lambda value: of.source == value,
        "sources": lambda value: among(of.source, sorted(value)),
        "since": lambda value: of.day >= cast(func.timezone("UTC", value), Date),
        "until": lambda value: of.day <= cast(func.timezone("UTC", value), Date),
    }
    asked = {"source": wanted.source, "sources": wall.sources, "since": wanted.since, "until": wanted.until}
    there = exists(select(calls.c.id).where(calls.c.id == of.first_record))
    rows = connection.execute(
        select(of.source, of.month, func.min(of.day), func.max(of.day), func.count(), func.sum(of.rows))
        .where(of.replaced_at.is_(None), ~there, *narrow(asked, conditions))
        .group_by(of.source, of.month)
        .order_by(of.month.desc(), of.source)
    )
    return [
        OnlyArchived(source, month, first, last, days, int(rows)) for source, month, first, last, days, rows in rows
    ]
