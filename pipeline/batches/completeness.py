"""Up to when everything that was received is done: what a reader of calls, charges and contacts may rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import func, select

from pipeline.database.narrowing import among
from pipeline.database.tables import batches

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection


def complete_through(connection: Connection, *, sources: Collection[str] | None = None) -> datetime:
    """The instant up to which every record that was received is done, or set aside as a failure.

    The oldest batch that is unfinished sets it; where there is none, all that is here is done now. It is about what
    reached the pipeline: what waits on a dialler's list is not known yet. It can go back, when an old record is tried
    again.

    Args:
        connection: the database; the few unfinished batches are read by an index of their own.
        sources: of these diallers only; None: of all.

    Returns:
        An aware instant.
    """
    unfinished = select(func.coalesce(func.min(batches.c.received_at), func.clock_timestamp())).where(
        batches.c.finished_at.is_(None)
    )
    if sources is not None:
        unfinished = unfinished.where(among(batches.c.source, sorted(sources)))
    return cast("datetime", connection.scalars(unfinished).one())


def only(source: str | None) -> list[str] | None:
    """One dialler among all, as above; None: all."""
    return None if source is None else [source]
