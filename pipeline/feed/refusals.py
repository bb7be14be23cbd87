"""Events that a subscriber's other side would not have: written down, delivered again, given up.

A refusal is ``open`` until a person decides, ``retrying`` until a feed process has delivered it again, and then
``resolved`` or open once more; or it is ``discarded``. What only waits behind an earlier refusal of its call was never
tried: its ``attempts`` are 0, and it goes on by itself when that one is taken or given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.feed.cursors import ERROR_CHARACTERS, change_leased
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import Connection

    from pipeline.feed.rules.cursor import Cursor, Lease
    from pipeline.feed.rules.event import Event

CUT_OFF: Final = {"reason": ERROR_CHARACTERS, "answer": ERROR_CHARACTERS, "request": 4_000}
"""How many characters are kept of what was sent and said."""

HELD: Final = "an earlier event of this call was refused"
PAST: Final = "past the retention of the feed: it cannot be delivered any more, only discarded"
WALLED: Final = "the subscriber's filter does not let it through any more"


class Refusal(NamedTuple):
    """An event to be delivered again."""

    position: int
    place: int
    source: str
    call_ref: str

    @property
    def call(self) -> tuple[str, str]:
        """Dialler and reference."""
        return self.source, self.call_ref


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was refused, and how.

    Attributes:
        event_id: the same whenever it is sent.
        kind: what happened to the call.
        position: of the event in the feed.
        place: of the event in that row of the feed.
        request: what was sent last, cut off, secrets masked; None: past the retention, or it was not sent at all.
        answer: what was said to it, cut off, secrets masked.
        ordering: what may overtake it, as the subscriber chose.
        is_kept: whether the feed still has it, so that it can be delivered again.
    """

    event_id: UUID
    kind: str
    position: int
    place: int
    request: str | None
    answer: str
    ordering: str
    is_kept: bool


class Refused(NamedTuple):
    """An event that was refused, or waits behind one of its call.

    Attributes:
        event: the event.
        reason: why, a sentence.
        answer: what the other side said.
        request: what it was sent; None: nothing.
        attempts: 0: it only waits.
    """

    event: Event
    reason: str
    answer: str = ""
    request: str | None = None
    attempts: int = 1


class Acted(NamedTuple):
    """A refusal that a person did something about."""

    subscriber: str
    record_id: int | None


def write(connection: Connection, lease: Lease, refused: Refused) -> None:
    """Write down that an event was refused, for the first time or once more, or that it waits behind one of its call.

    It is counted as the cursor passes it, by whoever moves that.

    Args:
        connection: the transaction.
        lease: the subscriber.
        refused: the event, and what was said, secrets masked.
    """
    event = refused.event
    values = {
        "name": lease.name,
        "position": event.position,
        "place": event.place,
        "event_id": event.event_id,
        "kind": event.kind,
        "source": event.source,
        "call_ref": storable(event.call_ref),
        "campaign_ref": event.campaign and storable(event.campaign),
        "attempts": refused.attempts,
    }
    said = {"reason": refused.reason, "answer": refused.answer, "request": refused.request}
    connection.execute(
        _REFUSE, values | {name: given and storable(given)[: CUT_OFF[name]] for name, given in said.items()}
    )


_REFUSE: Final = text(
    "INSERT INTO feed_refusals AS r (subscriber, position, place, event_id, kind, source, call_ref, campaign_ref, "
    "  record_id, reason, answer, request, attempts) "
    "VALUES (:name, :position, :place, :event_id, :kind, :source, :call_ref, :campaign_ref, "
    f"  (SELECT coalesce(call_id, batch_id * {PLACES} + :place) FROM feed WHERE position = :position), "
    "  :reason, :answer, :request, :attempts) "
    "ON CONFLICT (subscriber, position, place) DO UPDATE SET state = 'open', attempts = r.attempts + 1, "
    "  reason = excluded.reason, answer = excluded.answer, request = excluded.request, last_refused_at = now() "
    "WHERE excluded.attempts > 0"
)


def storable(given: str) -> str:
    """PostgreSQL holds every character but one, and an integrator's text or a record may hold it."""
    return given.replace("\0", "\ufffd")


def names_of_calls(events: Sequence[Event]) -> dict[str, list[str]]:
    """The calls of events as a statement takes them: two lists, ``sources`` and ``refs``."""
    return {
        "sources": [event.source for event in events],
        "refs": [storable(event.call_ref) for event in events],
    }


def undelivered_calls(connection: Connection, name: str, events: Sequence[Event]) -> set[tuple[str, str]]:
    """Of the calls of these events those that a refused event of waits for somebody: dialler and reference.

    What is too broken to name a call is of none.
    """
    found = connection.execute(
        text(
            "SELECT DISTINCT e.source, e.call_ref FROM feed_refusals AS r "
            "JOIN unnest(cast(:sources AS text[]), cast(:refs AS text[])) AS e (source, call_ref) "
            "  ON e.source = r.source AND e.call_ref = r.call_ref "
            "WHERE r.subscriber = :name AND r.state IN ('open', 'retrying') AND r.call_ref <> ''"
        ),
        {"name": name, **names_of_calls(events)},
    )
    return {(source, call_ref) for source, call_ref in found}


def beyond(connection: Connection, name: str, cursor: Cursor) -> dict[tuple[int, int], str]:
    """The states of the refusals that a subscriber's cursor is not behind yet, by position and place."""
    found = connection.execute(
        text(
            "SELECT position, place, state FROM feed_refusals WHERE subscriber = :name "
            "AND (position, place) > (:position, :place)"
        ),
        {"name": name, **cursor._asdict()},
    )
    return {(position, place): state for position, place, state in found}


def to_deliver(connection: Connection, lease: Lease, *, limit: int) -> list[Refusal]:
    """What is to be delivered to a subscriber again, in the feed's order, but for what its cursor comes to anyway.

    What was held back goes with it where nothing that was tried is in its way any more.
    """
    connection.execute(text(f"{_LET_GO} AND held.subscriber = :name"), {"name": lease.name})
    behind = "AND (position, place) <= (:position, :at)" if lease.ordering == "strict" else ""
    rows = connection.execute(
        text(
            "SELECT position, place, source, call_ref FROM feed_refusals "
            f"WHERE subscriber = :name AND state = 'retrying' {behind} ORDER BY position, place LIMIT :limit"
        ),
        {"name": lease.name, "limit": limit}
        | ({"position": lease.cursor.position, "at": lease.cursor.place} if behind else {}),
    )
    return [Refusal(*row) for row in rows]


_LET_GO: Final = (
    "UPDATE feed_refusals AS held SET state = 'retrying' WHERE state = 'open' AND attempts = 0 AND NOT EXISTS ("
    "  SELECT FROM feed_refusals AS before WHERE before.subscriber = held.subscriber "
    "  AND before.source = held.source AND before.call_ref = held.call_ref "
    "  AND before.state = 'open' AND before.attempts > 0 "
    "  AND (before.position, before.place) < (held.position, held.place))"
)


def taken(connection: Connection, lease: Lease, refusal: Refusal) -> bool:
    """Write down that the other side has it now; False when this deliverer should stop."""
    done = connection.execute(
        text(f"UPDATE feed_refusals SET state = 'resolved' WHERE {_ONE}"), {"name": lease.name, **refusal._asdict()}
    )
    state = change_leased(
        connection,
        lease,
        "delivered = delivered + :taken, refused = greatest(refused - :taken, 0), delivered_at = clock_timestamp(), "
        "misses = 0, last_error = NULL",
        taken=done.rowcount,
    )
    return state == "active"


_ONE: Final = "subscriber = :name AND position = :position AND place = :place AND state <> 'resolved'"


def put_back(connection: Connection, lease: Lease, refusal: Refusal, reason: str) -> None:
    """It cannot be delivered at all: a person has to give it up."""
    connection.execute(
        text(f"UPDATE feed_refusals SET state = 'open', reason = :reason WHERE {_ONE}"),
        {"name": lease.name, **refusal._asdict(), "reason": reason},
    )


def put_back_behind(connection: Connection, lease: Lease, refusal: Refusal) -> None:
    """What is of the same call waits for it."""
    connection.execute(
        text(
            "UPDATE feed_refusals SET state = 'open' WHERE subscriber = :name AND source = :source "
            "AND call_ref = :call_ref AND state = 'retrying' AND (position, place) > (:position, :place)"
        ),
        {"name": lease.name, **refusal._asdict()},
    )


def resolve_passed(connection: Connection, lease: Lease, behind: Cursor, to: Cursor) -> None:
    """What was refused between two cursors, and may not be overtaken, was taken in its turn."""
    connection.execute(
        text(
            "UPDATE feed_refusals SET state = 'resolved' WHERE subscriber = :name AND state IN ('open', 'retrying') "
            "AND (position, place) > (:position, :place) AND (position, place) <= (:to_position, :to_place)"
        ),
        {"name": lease.name, **behind._asdict(), "to_position": to.position, "to_place": to.place},
    )


def release(connection: Connection, ids: Sequence[int]) -> list[Acted]:
    """Have open refusals delivered again, each after those it waits behind; returns what is on its way now.

    Args:
        connection: the transaction.
        ids: of refusals; one that is not open is passed over.
    """
    released = connection.execute(
        text(
            f"WITH chosen AS ({_CHOSEN} AND r.state = 'open'), "
            "meant AS (SELECT r.id FROM feed_refusals AS r JOIN chosen USING (subscriber, source, call_ref) "
            "          WHERE r.state = 'open' AND chosen.ordering = 'per call' "
            "          AND r.call_ref <> '' AND (r.position, r.place) <= (chosen.position, chosen.place) "
            "          UNION SELECT id FROM chosen), "
            # By id, as whoever discards them takes them.
            "held AS (SELECT id FROM feed_refusals WHERE id IN (SELECT id FROM meant) AND state = 'open' "
            "         ORDER BY id FOR UPDATE) "
            "UPDATE feed_refusals SET state = 'retrying' WHERE id IN (SELECT id FROM held) "
            "RETURNING subscriber, record_id"
        ),
        {"ids": list(ids)},
    )
    acted = [Acted(*row) for row in released]
    _wake(connection, acted)
    return acted


def discard(connection: Connection, ids: Sequence[int]) -> list[Acted]:
    """Give open refusals up, and let go what only waited behind them; returns what was given up.

    Args:
        connection: the transaction.
        ids: of refusals; one that is not open is passed over.
    """
    discarded = connection.execute(
        text(
            "WITH held AS (SELECT id FROM feed_refusals WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'open' "
            "              ORDER BY id FOR UPDATE) "
            "UPDATE feed_refusals SET state = 'discarded' WHERE id IN (SELECT id FROM held) "
            "RETURNING subscriber, record_id"
        ),
        {"ids": list(ids)},
    )
    acted = [Acted(*row) for row in discarded]
    connection.execute(
        text(
            f"{_LET_GO} AND (held.subscriber, held.source, held.call_ref) IN "
            "(SELECT subscriber, source, call_ref FROM feed_refusals WHERE id = ANY(cast(:ids AS bigint[])))"
        ),
        {"ids": list(ids)},
    )
    _wake(connection, acted)
    return acted


def discarded(connection: Connection, ids: Sequence[int]) -> dict[int, Acted]:
    """Those of these refusals that are discarded, held until the transaction ends."""
    rows = connection.execute(
        text(
            "SELECT id, subscriber, record_id FROM feed_refusals WHERE id = ANY(cast(:ids AS bigint[])) "
            "AND state = 'discarded' ORDER BY id FOR UPDATE"
        ),
        {"ids": list(ids)},
    )
    return {row.id: Acted(row.subscriber, row.record_id) for row in rows}


def reopen(connection: Connection, ids: Sequence[int]) -> None:
    """Take back that these refusals were discarded: they wait for somebody again."""
    connection.execute(
        text("UPDATE feed_refusals SET state = 'open' WHERE id = ANY(cast(:ids AS bigint[])) AND state = 'discarded'"),
        {"ids": list(ids)},
    )


_CHOSEN: Final = (
    "SELECT r.id, r.subscriber, r.source, r.call_ref, r.position, r.place, subscribers.ordering "
    "FROM feed_refusals AS r JOIN subscribers ON subscribers.name = r.subscriber "
    "WHERE r.id = ANY(cast(:ids AS bigint[]))"
)


def _wake(connection: Connection, acted: Sequence[Acted]) -> None:
    """One that stood before such an event is asked again now, and not when its time has come."""
    connection.execute(
        text(
            "UPDATE subscribers SET due_at = now(), misses = 0, last_error = NULL "
            "WHERE name = ANY(cast(:names AS text[])) AND ordering = 'strict' AND due_at > now()"
        ),
        {"names": sorted({each.subscriber for each in acted})},
    )


def is_kept(connection: Connection, position: int) -> bool:
    """Whether the feed still holds this position, so that an event of it can be delivered again."""
    return bool(connection.scalar(text("SELECT EXISTS (SELECT FROM feed WHERE position = :at)"), {"at": position}))


def read_delivery(connection: Connection, refusal_id: int) -> Delivery:
    """What a refusal is about, and what was said to it."""
    row = connection.execute(
        text(
            "SELECT event_id, r.kind, r.position, r.place, request, answer, ordering, "
            "       EXISTS (SELECT FROM feed WHERE feed.position = r.position) "
            "FROM feed_refusals AS r JOIN subscribers ON name = subscriber WHERE r.id = :id"
        ),
        {"id": refusal_id},
    ).one()
    return Delivery(*row)


def drop_old(connection: Connection) -> None:
    """Forget what is past the retention of the feed: what was taken in the end, and of the others what was sent."""
    oldest = "(SELECT min(position) FROM feed)"
    connection.execute(text(f"DELETE FROM feed_refusals WHERE state = 'resolved' AND position < {oldest}"))
    connection.execute(
        text(f"UPDATE feed_refusals SET request = NULL WHERE request IS NOT NULL AND position < {oldest}")
    )
