"""How long the feed is kept: by age, whoever lags. Who falls behind is told the hole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.feed import refusals
from pipeline.feed.rules.event import LAST_PLACE

if TYPE_CHECKING:
    from sqlalchemy import Engine

ROWS_AT_ONCE: Final = 10_000


class Expired(NamedTuple):
    """A subscriber that fell behind, and the positions it will never get."""

    name: str
    hole_from: int
    hole_to: int


def drop_old(engine: Engine, *, days: int) -> int:
    """Delete what is older; returns how many rows. The newest stays: the next position goes on from it.

    Of what was refused, too, nothing is kept longer that was sent.

    Args:
        engine: the database.
        days: how long a row is kept.
    """
    dropped = 0
    while True:
        with engine.begin() as connection:
            done = connection.execute(_DROP, {"days": days, "limit": ROWS_AT_ONCE}).rowcount
        dropped += done
        if done < ROWS_AT_ONCE:
            break
    with engine.begin() as connection:
        refusals.drop_old(connection)
    return dropped


# SQL: by position, so that what is left is always all behind one.
_DROP: Final = text(
    "DELETE FROM feed WHERE position IN ("
    "  SELECT position FROM feed WHERE position < (SELECT max(position) FROM feed) "
    "  AND position < coalesce((SELECT min(position) FROM feed WHERE at >= now() - make_interval(days => :days)), "
    "                          (SELECT max(position) FROM feed)) "
    "  ORDER BY position LIMIT :limit)"
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
