"""The rows of ``recording_stores``: by which marker the store of each dialler's recordings is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.recordings.rules.encrypted import KeyName, stored_bytes

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

SAMPLE_FILES = 20

_KEPT = (
    "SELECT path, size_bytes, source, key_month FROM recordings "
    "WHERE state = 'stored' AND deleted_at IS NULL AND source = :source"
)


class SampledFile(NamedTuple):
    """A file that should be there."""

    path: str
    size_bytes: int
    source: str
    key_month: str | None

    @property
    def stored_bytes(self) -> int:
        """How long it should be there."""
        key = None if self.key_month is None else KeyName(self.source, self.key_month)
        return stored_bytes(self.size_bytes, key)


def marker_of(connection: Connection, source: str) -> str | None:
    """What the marker of a dialler's store says; None when that is not known yet."""
    query = text("SELECT marker FROM recording_stores WHERE source = :source")
    return connection.execute(query, {"source": source}).scalar_one_or_none()


def remember(connection: Connection, source: str, marker: str) -> None:
    """From now on a dialler's store is known by this marker."""
    connection.execute(
        text(
            "INSERT INTO recording_stores (source, marker) VALUES (:source, :marker) "
            "ON CONFLICT (source) DO UPDATE SET marker = excluded.marker, marked_at = now() "
            "WHERE recording_stores.marker <> excluded.marker"
        ),
        {"source": source, "marker": marker},
    )


def sources_with_files(connection: Connection) -> list[str]:
    """The diallers that have stored files."""
    query = "SELECT DISTINCT source FROM recordings WHERE state = 'stored' AND deleted_at IS NULL ORDER BY source"
    return list(connection.execute(text(query)).scalars())


def sample(connection: Connection, source: str, *, older_than_days: int) -> list[SampledFile]:
    """Some of a dialler's files by which its store can be told: the oldest and the newest that nothing deletes yet.

    Of those past their retention a run that was killed may have deleted some. They are looked at only where there are
    no others, and then the newest of them.
    """
    values = {"source": source, "days": older_than_days, "half": SAMPLE_FILES // 2}
    young = "AND dialed_at >= now() - make_interval(days => :days)"
    rows = connection.execute(
        text(
            f"({_KEPT} {young} ORDER BY dialed_at LIMIT :half) UNION "
            f"({_KEPT} {young} ORDER BY dialed_at DESC LIMIT :half)"
        ),
        values,
    ).all()
    if not rows:
        rows = connection.execute(text(f"{_KEPT} ORDER BY dialed_at DESC LIMIT :half"), values).all()
    return [SampledFile(*row) for row in rows]


def count_read(connection: Connection, source: str, *, began_at: datetime) -> tuple[int, int]:
    """How many of a dialler's files were read since, and how many of these were not whole."""
    row = connection.execute(
        text(
            "SELECT count(*), count(verify_problem) FROM recordings WHERE state = 'stored' AND deleted_at IS NULL "
            "AND source = :source AND verified_at >= :began_at"
        ),
        {"source": source, "began_at": began_at},
    ).one()
    return row[0], row[1]
