"""How each subscriber stands: what waits for it, and what of it was refused and waits for somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.feed.rules.event import LAST_PLACE
from pipeline.feed.rules.filter import ALL

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Standing(NamedTuple):
    """What waits for a subscriber."""

    events: int
    """Behind its cursor, at most: those that its campaigns and dispositions leave out are not told apart before."""
    since: datetime | None
    """When the oldest of them happened."""
    refused: int
    """Events that it refused, and those held back behind them, that nobody has decided about."""


def standings(connection: Connection) -> dict[str, Standing]:
    """How each subscriber stands, by its name."""
    rows = connection.execute(_STANDINGS, {"last_place": LAST_PLACE, "all": ALL})
    return {row.name: Standing(int(row.events), row.since, row.refused) for row in rows}


_STANDINGS: Final = text(
    "SELECT who.name, behind.events, behind.since, "
    "       (SELECT count(*) FROM feed_refusals AS r WHERE r.subscriber = who.name "
    "        AND r.state IN ('open', 'retrying')) AS refused "
    "FROM subscribers AS who CROSS JOIN LATERAL ("
    "  SELECT coalesce(sum(coalesce(batches.records, 1) "
    "           - CASE WHEN feed.position = who.position THEN least(who.place + 1, batches.records) ELSE 0 END), 0) "
    "         AS events, min(at) AS since "
    "  FROM feed LEFT JOIN batches ON batches.id = feed.batch_id "
    "  WHERE feed.position >= who.position AND (feed.position > who.position OR who.place < :last_place) "
    "  AND kind = ANY(who.kinds) AND (:all = ANY(who.sources) OR feed.source = ANY(who.sources))) AS behind "
)
