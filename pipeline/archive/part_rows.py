"""The parts as the database knows them: a copy of the manifests, for whoever looks for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, not_, select, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.archive.rules.places import Place
from pipeline.database.narrowing import among, narrow
from pipeline.database.tables import archive_parts

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy import Connection

    from pipeline.archive.rules.manifest import Manifest
    from pipeline.database.narrowing import Conditions


class KnownPart(NamedTuple):
    """A part that is archived; fields are columns."""

    source: str
    month: str
    name: str
    day: date
    first_record: int
    last_record: int
    rows: int
    size_bytes: int
    sha256: str
    written_at: datetime

    @property
    def place(self) -> Place:
        """Its month."""
        return Place(self.source, self.month)


def follow(connection: Connection, manifest: Manifest) -> None:
    """Have the rows of a month say what its manifest says; to the same effect however often.

    Args:
        connection: the caller's transaction.
        manifest: as it stands in the store.
    """
    of = archive_parts.c
    names = [part.name for part in manifest.parts]
    connection.execute(
        update(archive_parts)
        .where(of.source == manifest.source, of.month == manifest.month, of.replaced_at.is_(None))
        .where(not_(among(of.name, names)))
        .values(replaced_at=func.now())
    )
    rows = [
        {
            "source": manifest.source,
            "month": manifest.month,
            "name": part.name,
            "day": part.day,
            "first_record": part.first_record,
            "last_record": part.last_record,
            "rows": part.sums.rows,
            "size_bytes": part.size_bytes,
            "sha256": part.sha256,
            "written_at": part.written_at,
        }
        for part in manifest.parts
    ]
    if rows:
        # One that is named again came back with an older manifest.
        named = insert(archive_parts).values(rows)
        again = named.on_conflict_do_update(
            index_elements=list(archive_parts.primary_key),
            set_={"replaced_at": None},
            where=of.replaced_at.is_not(None),
        )
        connection.execute(again)


def known_parts(connection: Connection, *, source: str | None = None, month: str | None = None) -> list[KnownPart]:
    """What is archived, by dialler and day.

    Args:
        connection: the database.
        source: one dialler; None all.
        month: one month, such as 2026-10; None all.
    """
    of = archive_parts.c
    conditions: Conditions = {
        "source": lambda value: of.source == value,
        "month": lambda value: of.month == value,
    }
    rows = connection.execute(
        select(*(of[name] for name in KnownPart._fields))
        .where(of.replaced_at.is_(None), *narrow({"source": source, "month": month}, conditions))
        .order_by(of.source, of.day)
    )
    return [KnownPart(*row) for row in rows]


def names_given(connection: Connection, place: Place) -> list[str]:
    """The names of all parts that a month has ever had."""
    of = archive_parts.c
    return list(connection.scalars(select(of.name).where(of.source == place.source, of.month == place.month)))
