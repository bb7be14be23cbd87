"""Calls dialled in a window with how they ended, to be counted: what the reports on calls read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pipeline.billing.billed_calls import extent_of
from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls, dispositions

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from pipeline.billing.billed_calls import Selection
    from pipeline.database.narrowing import Conditions

_CONDITIONS: Conditions = {
    "since": lambda instant: calls.c.dialed_at >= instant,
    "until": lambda instant: calls.c.dialed_at < instant,
    "campaign": lambda value: calls.c.campaign_ref == value,
    "source": lambda value: calls.c.source == value,
    "direction": lambda value: calls.c.direction == value,
}


def dialled(connection: Connection, selection: Selection, direction: str | None, *columns: Any) -> Select[Any]:
    """Columns of the calls of a selection, and of their dispositions where they have one.

    Dispositions know no time. The ids between which the calls lie, found by when they were dialled, keep those of all
    other times out.

    Args:
        connection: the database.
        selection: which calls.
        direction: ``outbound`` or ``inbound``; None both.
        columns: what is wanted of them.
    """
    extent = extent_of(connection, selection)
    return (
        select(*columns)
        .select_from(calls)
        .outerjoin(
            dispositions,
            (dispositions.c.call_id == calls.c.id) & dispositions.c.call_id.between(extent.first, extent.last),
        )
        .where(
            calls.c.id.between(extent.first, extent.last),
            *narrow({**selection._asdict(), "direction": direction}, _CONDITIONS),
        )
    )
