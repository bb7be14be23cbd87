"""What each subscriber was fed: every event of its kinds and diallers is delivered, waits, was refused or filtered.

The subscriber's own counts are made by whoever delivers, an event at a time. They are held against the rows of the
feed and of the calls themselves: those that its cursor has passed must be as many as were counted, and those behind it
wait. Where retention drops rows, those passed are added to ``counted_before``, and those that will never come to
``missed``, in the transaction that drops them, so that the sum stays exact over all time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Connection

LAST_PLACE: Final = PLACES - 1
"""Of a row of the feed; a cursor that stands there has passed the row."""


class Fed(NamedTuple):
    """One subscriber's events since it was added."""

    name: str
    delivered: int
    refused: int
    filtered: int
    missed: int
    """Those that were gone before it had them; it was told which."""
    before: int
    """Those it passed in rows that are dropped since."""
    passed: int
    """Those it passed in rows that are there."""
    waiting: int
    is_whole: bool
    """Whether all rows since are there, or were counted when they were dropped."""

    @property
    def all(self) -> int:
        """All there were for it."""
        return self.before + self.passed + self.waiting + self.missed

    @property
    def accounted_for(self) -> int:
        """What became of them, as far as it was counted."""
        return self.delivered + self.waiting + self.refused + self.filtered + self.missed

    def as_dict(self) -> dict[str, int]:
        """As ``--json`` shows it."""
        names = ("delivered", "waiting", "refused", "filtered", "missed")
        return {"fed": self.all, **{name: getattr(self, name) for name in names}}


def fed(connection: Connection, up_to: int | None = None) -> list[Fed]:
    """Count what each subscriber was fed, by name.

    Args:
        connection: a transaction, best one of a single snapshot.
        up_to: the last position that is looked at; None: all there are.
    """
    scope = connection.execute(_SCOPE, {"up_to": up_to}).one()
    if not scope.subscribers:
        return []
    found = connection.execute(_FED, _bounds(connection, scope.behind, scope.up_to, scope.kinds))
    return [Fed(*row) for row in found]


def count_events(
    connection: Connection,
    between: tuple[int, int],
    *,
    kinds: Collection[str],
    sources: Collection[str],
    since: datetime,
    until: datetime | None,
) -> int:
    """How many events some positions have.

    Args:
        connection: the database.
        between: behind the first position, up to the last.
        kinds: of events.
        sources: the diallers; ``*`` is all.
        since: only what happened then or later.
        until: only what happened before.
    """
    values = _bounds(connection, *between, kinds) | {"sources": list(sources), "since": since, "until": until}
    return int(connection.scalar(_COUNT, values))


def _bounds(connection: Connection, behind: int, up_to: int, kinds: Collection[str]) -> dict[str, object]:
    """The positions, and the calls that their batches can have: as values, by which the planner knows what it reads."""
    positions = {"behind": behind, "up_to": up_to, "kinds": list(kinds)}
    calls = connection.execute(_CALLS, positions).one()
    return positions | {"first_call": calls.first, "last_call": calls.last}


# One that older code added and nobody has delivered to since is counted from its cursor on.
_FROM: Final = "coalesce(counted_from, position)"
_FROM_PLACE: Final = "CASE WHEN counted_from IS NULL THEN place ELSE counted_from_place END"
_BEFORE: Final = "CASE WHEN counted_from IS NULL THEN delivered + refused + filtered ELSE counted_before END"

_SCOPE: Final = text(
    f"SELECT count(*) AS subscribers, coalesce(min({_FROM}), 0) - 1 AS behind, "
    "       coalesce(:up_to, (SELECT max(position) FROM feed), 0) AS up_to, "
    "       ARRAY(SELECT DISTINCT unnest(kinds) FROM subscribers) AS kinds "
    "FROM subscribers"
)
_CALLS: Final = text(
    "SELECT coalesce(min(batch_id), 0) << 16 AS first, (coalesce(max(batch_id), -1) << 16) + 65535 AS last FROM feed "
    "WHERE position > :behind AND position <= :up_to AND kind = ANY(:kinds) "
    "  AND kind <> 'call.received' AND batch_id IS NOT NULL AND named IS NULL"
)

# How many events each row has: as the reader finds them, by other means.
_ROWS: Final = """
SELECT feed.position, feed.kind, feed.source, feed.at, feed.batch_id, feed.left_out, feed.named,
       CASE WHEN feed.call_id IS NOT NULL THEN (SELECT count(*) FROM calls WHERE calls.id = feed.call_id)
            WHEN feed.kind = 'call.received' THEN batches.records
            WHEN feed.named IS NOT NULL THEN (SELECT count(*) FROM calls WHERE calls.id = ANY(feed.named))
            ELSE coalesce(of_batch.calls, 0) - (SELECT count(*) FROM calls WHERE calls.id = ANY(feed.left_out))
       END AS events
FROM feed LEFT JOIN batches ON batches.id = feed.batch_id
LEFT JOIN (SELECT id >> 16 AS batch, count(*) AS calls FROM calls WHERE id BETWEEN :first_call AND :last_call
           GROUP BY 1) AS of_batch ON of_batch.batch = feed.batch_id
WHERE feed.position > :behind AND feed.position <= :up_to AND feed.kind = ANY(:kinds)
"""


def _passed(position: str, place: str) -> str:
    """Of a row's events those that a cursor has passed; only one row may have to be looked into."""
    return f"""
    CASE WHEN r.position > {position} THEN 0
         WHEN r.position < {position} OR {place} = {LAST_PLACE} OR r.batch_id IS NULL THEN r.events
         WHEN r.kind = 'call.received' THEN least(r.events, {place} + 1)
         ELSE (SELECT count(*) FROM calls WHERE calls.id BETWEEN r.batch_id << 16 AND (r.batch_id << 16) + {place}
               AND CASE WHEN r.named IS NOT NULL THEN calls.id = ANY(r.named)
                        ELSE r.left_out IS NULL OR calls.id <> ALL(r.left_out) END)
    END"""


_FED: Final = text(f"""
WITH rows AS MATERIALIZED ({_ROWS}),
whose AS (SELECT *, {_FROM} AS from_position, {_FROM_PLACE} AS from_place, {_BEFORE} AS before FROM subscribers)
SELECT s.name, s.delivered, s.refused, s.filtered, s.missed, s.before,
       coalesce(sum(greatest(seen.passed - seen.uncounted, 0)), 0)::bigint,
       coalesce(sum(seen.events - greatest(seen.passed, seen.uncounted)), 0)::bigint,
       s.from_position + (s.from_place = {LAST_PLACE})::int >= coalesce((SELECT min(position) FROM feed), 0)
FROM whose AS s LEFT JOIN LATERAL (
    SELECT r.events, {_passed("s.position", "s.place")} AS passed,
           {_passed("s.from_position", "s.from_place")} AS uncounted
    FROM rows AS r
    WHERE r.kind = ANY(s.kinds) AND ('*' = ANY(s.sources) OR r.source = ANY(s.sources))
      AND r.position >= s.from_position) AS seen ON true
GROUP BY s.name, s.delivered, s.refused, s.filtered, s.missed, s.before, s.from_position, s.from_place
ORDER BY s.name
""")

_COUNT: Final = text(
    f"SELECT coalesce(sum(events), 0)::bigint FROM ({_ROWS}) AS rows "
    "WHERE ('*' = ANY(:sources) OR source = ANY(:sources)) "
    "  AND at >= :since AND at < coalesce(:until, 'infinity'::timestamptz)"
)
