"""Which diallers' workers are to look now, and which of them answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.batches.sources import known_sources
from pipeline.completeness.rules.turns import may_ask
from pipeline.monitoring.heartbeats import beat, signs_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

ANSWERED: Final = "completeness"
ASKED: Final = "completeness_asked"


def take_sources(connection: Connection, *, who: str) -> list[str]:
    """The diallers whose workers are to be asked now; the asking is written down."""
    asked = {sign.source: sign.seconds_ago for sign in signs_of(connection, ASKED)}
    answered = {sign.source: sign.seconds_ago for sign in signs_of(connection, ANSWERED)}
    sources = [source for source in known_sources(connection) if may_ask(asked.get(source), answered.get(source))]
    for source in sources:
        beat(connection, ASKED, source, who=who)
    return sources


def answered(connection: Connection, source: str, *, who: str) -> None:
    """A dialler's workers have begun to look."""
    beat(connection, ANSWERED, source, who=who)
