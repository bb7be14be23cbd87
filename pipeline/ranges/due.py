"""Which ranges are past all that the rules let be kept: for whoever lists them, and whoever drops those."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from pipeline.database.ranges import received_in
from pipeline.keeping.rule_rows import rules_of
from pipeline.keeping.rules.policy import longest
from pipeline.keeping.spans import OF_RANGES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.database.ranges import Range


class Due(NamedTuple):
    """A range of which nothing may be kept any more."""

    range: Range
    since: datetime
    """UTC."""


def longest_kept(connection: Connection) -> timedelta | None:
    """After how long nothing of a range may be kept; None: something of it is kept for ever."""
    days = [longest(rules_of(connection, kind)) for kind in OF_RANGES]
    return None if None in days else timedelta(days=max(each for each in days if each is not None))


def due_ranges(connection: Connection, ranges: Iterable[Range]) -> list[Due]:
    """Those of some ranges that are past it, in their order.

    Reckoned from when the last of a range was received, which is later than any of its calls was dialled, and without
    a look at its calls. One that was brought back is left out: somebody wanted it, and it goes by its name.
    """
    kept = longest_kept(connection)
    if kept is None:
        return []
    now = connection.scalars(select(func.now())).one()
    found = []
    for each in ranges:
        if each.is_there and each.dropped_at is None:
            _, last_received = received_in(connection, each)
            if last_received is not None and last_received + kept <= now:
                found.append(Due(each, last_received + kept))
    return found
