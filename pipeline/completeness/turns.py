"""Which diallers' workers are to look now, and which of them answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.batches.sources import take_turns
from pipeline.completeness.rules.turns import may_ask
from pipeline.monitoring.heartbeats import beat

if TYPE_CHECKING:
    from sqlalchemy import Connection

ANSWERED: Final = "completeness"
ASKED: Final = "completeness_asked"


def take_sources(connection: Connection, *, who: str) -> list[str]:
    """The diallers whose workers are to be asked now; the asking is written down."""
    return take_turns(connection, asked=ASKED, done=ANSWERED, may_ask=may_ask, who=who)


def answered(connection: Connection, source: str, *, who: str) -> None:
    """A dialler's workers have begun to look."""
    beat(connection, ANSWERED, source, who=who)
