"""The diallers that records have come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.monitoring.heartbeats import beat, last_seen
from pipeline.monitoring.known_sources import KNOWN_SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection


def take_turns(
    connection: Connection, *, asked: str, done: str, may_ask: Callable[[float | None, float | None], bool], who: str
) -> list[str]:
    """The diallers whose own workers are to be asked for something now; the asking is written down.

    Args:
        connection: the caller's transaction.
        asked: the sign of life of having been asked.
        done: the one of having done it.
        may_ask: whether to, by the seconds since both; None: never.
        who: asks.
    """
    asked_ago, done_ago = last_seen(connection, asked), last_seen(connection, done)
    sources = [each for each in known_sources(connection) if may_ask(asked_ago.get(each), done_ago.get(each))]
    for source in sources:
        beat(connection, asked, source, who=who)
    return sources


def known_sources(connection: Connection) -> list[str]:
    """Every dialler that anything was received from; reads one index entry a source, however many batches there are."""
    return list(connection.scalars(text(f"{KNOWN_SOURCES} SELECT source FROM known WHERE source IS NOT NULL")))
