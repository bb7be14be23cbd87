"""Signs of life: when a process last showed that it works, and who is asked to clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.domain.checkup.processes import Sign
from pipeline.domain.pace import may_ask
from pipeline.storage.inbox import known_sources

if TYPE_CHECKING:
    from sqlalchemy import Connection

RECONCILER: Final = "reconciler"
INGESTOR: Final = "ingestor"
KEEPER: Final = "recordings_keeper"
KEEPER_ASKED: Final = "recordings_keeper_asked"


def beat(connection: Connection, name: str, source: str = "", *, who: str) -> None:
    """Say that ``name`` works, now."""
    connection.execute(
        text(
            "INSERT INTO heartbeats (name, source, who) VALUES (:name, :source, :who) "
            "ON CONFLICT (name, source) DO UPDATE SET who = excluded.who, at = now()"
        ),
        {"name": name, "source": source, "who": who},
    )


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


def sources_with_recordings_waiting(connection: Connection) -> list[str]:
    """The diallers that have recordings to be fetched."""
    rows = connection.execute(
        text("SELECT DISTINCT source FROM recordings WHERE state IN ('scheduled', 'downloading') ORDER BY source")
    )
    return list(rows.scalars())


def take_sources_to_keep(connection: Connection, *, who: str) -> list[str]:
    """The diallers whose recordings workers are to be asked to clean up now; the asking is written down."""
    asked = {sign.source: sign.seconds_ago for sign in signs_of(connection, KEEPER_ASKED)}
    done = {sign.source: sign.seconds_ago for sign in signs_of(connection, KEEPER)}
    sources = [source for source in known_sources(connection) if may_ask(asked.get(source), done.get(source))]
    for source in sources:
        beat(connection, KEEPER_ASKED, source, who=who)
    return sources
