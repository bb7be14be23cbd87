"""How long the feed is kept: by age, whoever lags. Who falls behind is told the hole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.balance.fed import fed
from pipeline.database.audit import record_action
from pipeline.feed.rules.event import LAST_PLACE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

ROWS_AT_ONCE: Final = 2_000
"""Their events are counted while subscribers wait: a moment each."""


class Expired(NamedTuple):
    """A subscriber that fell behind, and the positions it will never get."""

    name: str
    hole_from: int
    hole_to: int


def drop_old(engine: Engine, *, days: int) -> int:
    """Delete what is older; returns how many rows. The newest stays: the next position goes on from it.

    What subscribers had of it is counted in the same transaction (``pipeline/balance/fed.py``).

    Args:
        engine: the database.
        days: how long a row is kept.
    """
    dropped = 0
    while True:
        with engine.begin() as connection:
            done = _drop_some(connection, days)
        dropped += done
        if done < ROWS_AT_ONCE:
            return dropped


def _drop_some(connection: Connection, days: int) -> int:
    up_to = connection.scalar(_UP_TO, {"days": days, "limit": ROWS_AT_ONCE})
    if up_to is None:
        return 0
    # Nobody's cursor moves while its events are counted. Whoever has some of them in hand, and delivers them after
    # all, has lost its lease: they are counted as missed, and not as delivered too.
    connection.execute(text("SELECT FROM subscribers ORDER BY name FOR UPDATE"))
    for each in fed(connection, up_to):
        counted = {"name": each.name, "up_to": up_to, "last_place": LAST_PLACE}
        if each.is_whole:
            counted |= {"before": each.before + each.passed, "missed": each.waiting}
            connection.execute(_COUNTED, counted)
        else:
            connection.execute(_COUNTED_ANEW, {"name": each.name})
            counts = {"name": each.name, "fed": each.all, "accounted_for": each.accounted_for}
            record_action(connection, "retention", "subscriber counted anew", counts)
    return connection.execute(text("DELETE FROM feed WHERE position <= :up_to"), {"up_to": up_to}).rowcount


# SQL: by position, so that what is left is always all behind one.
_UP_TO: Final = text(
    "SELECT max(position) FROM (SELECT position FROM feed WHERE position < (SELECT max(position) FROM feed) "
    "  AND position < coalesce((SELECT min(position) FROM feed WHERE at >= now() - make_interval(days => :days)), "
    "                          (SELECT max(position) FROM feed)) "
    "  ORDER BY position LIMIT :limit) AS old"
)
_COUNTED: Final = text(
    "UPDATE subscribers SET counted_from = :up_to, counted_from_place = :last_place, counted_before = :before, "
    "  missed = missed + :missed, "
    "  leased_by = CASE WHEN (position, place) < (:up_to, :last_place) THEN NULL ELSE leased_by END "
    "WHERE name = :name AND coalesce(counted_from, position) <= :up_to"
)
# Rows were dropped by somebody who did not count them, such as the version before.
_COUNTED_ANEW: Final = text(
    "UPDATE subscribers SET counted_from = position, counted_from_place = place, "
    "  counted_before = delivered + refused + filtered WHERE name = :name"
)


def expire(engine: Engine) -> list[Expired]:
    """Mark the subscribers that fell behind what is left, paused ones included, and say what each will miss."""
    with engine.begin() as connection:
        return [Expired(*row) for row in connection.execute(_EXPIRE, {"last_place": LAST_PLACE})]


_EXPIRE: Final = text(
    "UPDATE subscribers SET state = 'expired', state_since = now(), leased_by = NULL, leased_until = NULL, "
    "  hole_from = missing.first, hole_to = missing.last, "
    "  state_reason = format('it fell behind the retention of the feed: positions %s to %s are gone', "
    "                        missing.first, missing.last) "
    "FROM (SELECT name AS who, position + (place = :last_place)::int AS first, oldest - 1 AS last "
    "      FROM subscribers, (SELECT min(position) AS oldest FROM feed) AS kept) AS missing "
    "WHERE name = missing.who AND state IN ('active', 'paused') AND missing.first <= missing.last "
    "RETURNING name, hole_from, hole_to"
)
