"""How many records of each campaign came: counted once a batch, and what is on its way told apart by its keys.

A record on its way is known by its reference, so one that is seen at two places is one, and one whose call is stored,
a repetition, is none: the dialler has not counted it again either.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.calls.rules.cdr import Key, key_in
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

MOST_ON_THE_WAY: Final = 20_000
"""With more records than that on their way nothing is said: it would take longer than it is good for."""

_UNSURE: Final = "15 minutes"
"""A batch may become visible after a later one, but not as much later."""
_OLD_CALLS: Final = "4 hours"
_BATCHES_AT_ONCE: Final = 5_000
_LATELY_BATCHES: Final = 1_000


class OnTheWay(NamedTuple):
    """Records that came, and are not counted yet."""

    keys: Mapping[str, Key]
    """By their references."""
    unreadable: int
    """Records that do not say whose they are."""

    def by_campaign(self) -> Counter[str]:
        """How many of each campaign."""
        return Counter(key.campaign_ref for key in self.keys.values())


def on_the_way(elements: Iterable[bytes]) -> OnTheWay:
    """What some elements are."""
    found = [key_in(element) for element in elements]
    return OnTheWay({key.call_ref: key for key in found if key is not None}, found.count(None))


def count_received(connection: Connection, source: str, *, now: datetime) -> dict[str, int]:
    """Count the batches that were read since the last time; returns the records of each campaign, since it is watched.

    Calls are counted, and what normalize set aside; neither repetitions, nor calls of imported files that were dialled
    long before their campaign was watched. Whoever counts a source holds it until the end of the transaction.

    Args:
        connection: the caller's transaction.
        source: the dialler.
        now: the present instant, aware: since when a campaign is watched that was not yet.
    """
    after = _hold(connection, source, now)
    while fresh := connection.scalars(
        text(_FRESH), {"source": source, "after": after, "limit": _BATCHES_AT_ONCE}
    ).all():
        _count(connection, source, fresh, now)
        after = fresh[-1]
    _move_on(connection, source)
    rows = connection.execute(
        text("SELECT campaign_ref, received FROM campaign_counts WHERE source = :source"), {"source": source}
    )
    return {row.campaign_ref: row.received for row in rows}


_NOT_COUNTED: Final = "NOT EXISTS (SELECT FROM counted_batches AS c WHERE c.batch_id = batches.id)"
_FRESH: Final = (
    "SELECT id FROM batches WHERE id > :after AND source = :source AND normalized_at IS NOT NULL "
    f"AND {_NOT_COUNTED} ORDER BY id LIMIT :limit"
)


def _hold(connection: Connection, source: str, now: datetime) -> int:
    """The batch up to which all are counted; at the first time, the last one there is."""
    values = {"source": source, "now": now, "lately": _LATELY_BATCHES, "places": PLACES}
    begun = connection.execute(
        text(
            "INSERT INTO counting_marks (source, counted_to) "
            "SELECT :source, coalesce(min(id) FILTER (WHERE normalized_at IS NULL), max(id) + 1, 1) - 1 FROM batches "
            "WHERE source = :source ON CONFLICT (source) DO NOTHING"
        ),
        values,
    )
    if begun.rowcount:  # the campaigns that are running are watched from now on
        connection.execute(
            text(
                "INSERT INTO campaign_counts (source, campaign_ref, received, since, last_at) "
                "SELECT DISTINCT source, campaign_ref, 0, cast(:now AS timestamptz), cast(:now AS timestamptz) "
                "FROM calls "
                "WHERE source = :source AND id > ((SELECT max(id) FROM batches) - :lately) * :places"
            ),
            values,
        )
    held = text("SELECT counted_to FROM counting_marks WHERE source = :source FOR UPDATE")
    return int(connection.execute(held, values).scalar_one())


_COUNT: Final = f"""
INSERT INTO campaign_counts AS known (source, campaign_ref, received, since, last_at)
SELECT :source, came.campaign_ref, count(*), :now, :now
FROM (SELECT id * {PLACES} AS first, id * {PLACES} + {PLACES} - 1 AS last,
             EXISTS (SELECT FROM import_chunks AS i WHERE i.batch_id = counted.id) AS imported
      FROM unnest(cast(:ids AS bigint[])) AS counted (id)) AS span
CROSS JOIN LATERAL (
    SELECT campaign_ref, dialed_at FROM calls WHERE id BETWEEN first AND last
    UNION ALL
    SELECT campaign_ref, NULL FROM failures
    WHERE record_id BETWEEN first AND last AND step = 'normalize' AND campaign_ref IS NOT NULL
      AND NOT EXISTS (SELECT FROM calls WHERE calls.id = record_id)
      AND NOT EXISTS (SELECT FROM duplicates AS d WHERE d.record_id = failures.record_id)
      AND NOT EXISTS (SELECT FROM revisions AS v WHERE v.record_id = failures.record_id)) AS came
LEFT JOIN campaign_counts AS watched ON watched.source = :source AND watched.campaign_ref = came.campaign_ref
WHERE NOT imported OR dialed_at >= watched.since - interval '{_OLD_CALLS}'
GROUP BY 2
ON CONFLICT (source, campaign_ref) DO UPDATE
SET received = known.received + excluded.received, last_at = excluded.last_at
"""


def _count(connection: Connection, source: str, batch_ids: Sequence[int], now: datetime) -> None:
    values = {"source": source, "ids": list(batch_ids), "now": now}
    connection.execute(text(_COUNT), values)
    connection.execute(
        text(
            "INSERT INTO counted_batches (batch_id, source) "
            "SELECT id, :source FROM unnest(cast(:ids AS bigint[])) AS counted (id)"
        ),
        values,
    )


def _move_on(connection: Connection, source: str) -> None:
    """Forget one by one what lies before the first batch that may still have to be counted."""
    values = {"source": source}
    connection.execute(
        text(
            "UPDATE counting_marks SET counted_to = greatest(counted_to, ("
            "  SELECT coalesce(min(id) FILTER (WHERE NOT surely), max(id) + 1, 0) - 1 FROM ("
            f"    SELECT id, NOT {_NOT_COUNTED} AND received_at < now() - interval '{_UNSURE}' AS surely "
            "    FROM batches, (SELECT counted_to FROM counting_marks WHERE source = :source) AS mark "
            "    WHERE source = :source AND id > mark.counted_to) AS later)) "
            "WHERE source = :source"
        ),
        values,
    )
    connection.execute(
        text(
            "DELETE FROM counted_batches AS c USING counting_marks AS m "
            "WHERE m.source = :source AND c.source = :source AND c.batch_id <= m.counted_to"
        ),
        values,
    )


def not_read_yet(connection: Connection, source: str) -> list[bytes] | None:
    """The raw records of batches that are neither read nor counted, but for imported files; None when they are many."""
    raw = connection.scalars(
        text(
            "SELECT raw FROM batches JOIN inbox ON record_id BETWEEN id * :places AND id * :places + :places - 1 "
            "WHERE finished_at IS NULL AND normalized_at IS NULL AND source = :source "
            f"AND NOT EXISTS (SELECT FROM import_chunks AS i WHERE i.batch_id = batches.id) AND {_NOT_COUNTED} "
            "LIMIT :limit"
        ),
        {"source": source, "places": PLACES, "limit": MOST_ON_THE_WAY + 1},
    ).all()
    return None if len(raw) > MOST_ON_THE_WAY else [bytes(each) for each in raw]


def without_known(connection: Connection, source: str, some: OnTheWay) -> OnTheWay:
    """The same without those that repeat a stored call, or have been set aside lately."""
    values = {"keys": list(some.keys), "source": source, "places": PLACES}
    rows = connection.execute(
        text(
            "SELECT call_ref, content_hash FROM calls "
            "WHERE call_ref = ANY(cast(:keys AS text[])) AND source = :source UNION ALL "
            "SELECT call_ref, NULL FROM failures "
            "WHERE call_ref = ANY(cast(:keys AS text[])) AND source = :source AND step = 'normalize' "
            "AND record_id >= (SELECT counted_to * :places FROM counting_marks WHERE source = :source)"
        ),
        values,
    )
    known = {
        row.call_ref
        for row in rows
        if row.content_hash is None or bytes(row.content_hash) == some.keys[row.call_ref].content_hash
    }
    return some._replace(keys={call_ref: key for call_ref, key in some.keys.items() if call_ref not in known})
