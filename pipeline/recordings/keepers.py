"""Which diallers' recordings are looked after, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.batches.sources import take_turns
from pipeline.recordings.rules.pace import may_ask

if TYPE_CHECKING:
    from sqlalchemy import Connection


KEEPER: Final = "recordings_keeper"


KEEPER_ASKED: Final = "recordings_keeper_asked"


def sources_with_recordings_waiting(connection: Connection) -> list[str]:
    """The diallers that have recordings to be fetched."""
    rows = connection.execute(
        text("SELECT DISTINCT source FROM recordings WHERE state IN ('scheduled', 'downloading') ORDER BY source")
    )
    return list(rows.scalars())


def take_sources_to_keep(connection: Connection, *, who: str) -> list[str]:
    """The diallers whose recordings workers are to be asked to clean up now; the asking is written down."""
    return take_turns(connection, asked=KEEPER_ASKED, done=KEEPER, may_ask=may_ask, who=who)
