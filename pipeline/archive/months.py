"""Which months there are to archive, and which are archived."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archive.part_rows import known_parts
from pipeline.archive.rules.places import Place
from pipeline.archive.state import first_and_last, has_calls
from pipeline.batches.sources import known_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection


class ArchivedMonth(NamedTuple):
    """What is archived of a month of a dialler."""

    source: str
    month: str
    days: int
    calls: int
    size_bytes: int
    written_at: datetime
    """When its newest part was."""


def archived_months(connection: Connection, *, source: str | None = None) -> list[ArchivedMonth]:
    """The months that are archived, by dialler.

    Args:
        connection: the database.
        source: one dialler; None all.
    """
    months: dict[Place, list[ArchivedMonth]] = {}
    for part in known_parts(connection, source=source):
        one = ArchivedMonth(part.source, part.month, 1, part.rows, part.size_bytes, part.written_at)
        months.setdefault(part.place, []).append(one)
    return [
        ArchivedMonth(
            place.source,
            place.month,
            len(parts),
            sum(part.calls for part in parts),
            sum(part.size_bytes for part in parts),
            max(part.written_at for part in parts),
        )
        for place, parts in months.items()
    ]


def months_to_archive(
    connection: Connection, *, source: str | None = None, month: str | None = None, now: datetime | None = None
) -> list[Place]:
    """The months to look at, by dialler and month.

    Args:
        connection: the database.
        source: one dialler; None all.
        month: one month, which need not be over; None: all that are over and of which the database has calls.
        now: the instant it is.
    """
    sources = known_sources(connection) if source is None else [source]
    if month is not None:
        return [Place(each, month) for each in sources]
    today = (now or datetime.now(tz=UTC)).date()
    return [place for each in sources for place in _closed(connection, each, today)]


def _closed(connection: Connection, source: str, today: date) -> Iterator[Place]:
    dialled = first_and_last(connection, source)
    if dialled is None:
        return
    first, last = (each.astimezone(UTC).date().replace(day=1) for each in dialled)
    while first <= last and first < today.replace(day=1):
        place = Place(source, f"{first:%Y-%m}")
        if has_calls(connection, source, place.span):
            yield place
        first = (first + timedelta(days=31)).replace(day=1)
