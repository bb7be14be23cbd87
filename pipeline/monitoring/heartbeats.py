"""Signs of life: when a process last showed that it works, and who is asked to clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.monitoring.rules.signs import Sign

if TYPE_CHECKING:
    from sqlalchemy import Connection

RECONCILER: Final = "reconciler"
INGESTOR: Final = "ingestor"
ARCHIVER: Final = "archive"
"""Of having looked at every month that is over."""


BEAT_SECONDS: Final = 15.0
"""What shows that it works more often than this need not say so each time."""

BEATEN: Final = (
    f"EXISTS (SELECT FROM heartbeats WHERE name = :beating AND at > now() - make_interval(secs => {BEAT_SECONDS}))"
)
"""Whether ``:beating`` has shown that it works just now, as SQL."""


def beat(connection: Connection, name: str, source: str = "", *, who: str) -> None:
    """Say that ``name`` works, now."""
    connection.execute(
        text(
            "INSERT INTO heartbeats (name, source, who) VALUES (:name, :source, :who) "
            "ON CONFLICT (name, source) DO UPDATE SET who = excluded.who, at = now()"
        ),
        {"name": name, "source": source, "who": who},
    )


def last_seen(connection: Connection, name: str) -> dict[str, float]:
    """The seconds since each source's sign of life under this name; one that gave none is left out."""
    return {sign.source: sign.seconds_ago for sign in signs_of(connection, name)}


def signs_of(connection: Connection, name: str) -> list[Sign]:
    """Every sign of life under this name, by source; ages are the database's own."""
    rows = connection.execute(
        text(
            "SELECT name, source, who, extract(epoch FROM clock_timestamp() - at)::float8 AS seconds_ago "
            "FROM heartbeats WHERE name = :name ORDER BY source"
        ),
        {"name": name},
    )
    return [Sign(*row) for row in rows]
