"""Why nothing was to be done about failures: in which states those are that were meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from pipeline.failures.both import FAILED
from pipeline.failures.listing import FailureFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


def states_of(connection: Connection, failure_ids: Sequence[int]) -> dict[int, str]:
    """The state of each of these failures; one that there is not is left out."""
    wanted = FailureFilter(states=None, ids=tuple(failure_ids))
    rows = connection.execute(select(FAILED.c.id, FAILED.c.state).where(*wanted.conditions()))
    return {row.id: row.state for row in rows}


def count_by_state(connection: Connection, wanted: FailureFilter) -> dict[str, int]:
    """How many failures match in each state, whatever states are wanted; the most first."""
    count = func.count().label("failures")
    rows = connection.execute(
        select(FAILED.c.state, count)
        .where(*wanted._replace(states=None).conditions())
        .group_by(FAILED.c.state)
        .order_by(count.desc(), FAILED.c.state)
    )
    return {row.state: row.failures for row in rows}
