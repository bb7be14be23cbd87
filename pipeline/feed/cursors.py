"""Who delivers to a subscriber, and how far it is: leased, moved on after each delivery, put off when it takes nothing.

All instants are the database's.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from pipeline.feed.rules.cursor import Cursor, Lease
from pipeline.feed.rules.event import LAST_PLACE
from pipeline.feed.rules.filter import Filter

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

LEASE_SECONDS: Final = 15.0
"""How long a subscriber is its deliverer's without a sign of it; a deliverer that was killed is replaced then."""

ERROR_CHARACTERS: Final = 500

REPLAY_CATCHES_UP_SECONDS: Final = 5
"""What a replay that was woken late may make up for, in one go after the other."""


def due(connection: Connection) -> list[str]:
    """The subscribers that something waits for and nobody delivers to, those put off excepted."""
    return list(connection.scalars(_DUE))


_FREE = "subscribers.state = 'active' AND due_at <= now() AND (leased_until IS NULL OR leased_until < now())"
_WHO_IS_DUE: Final = (
    f"FROM subscribers WHERE {_FREE} AND ((position, place) < "
    f"((SELECT coalesce(max(position), 0) FROM feed), {LAST_PLACE}) OR EXISTS ("
    "SELECT FROM feed_refusals WHERE subscriber = name AND feed_refusals.state = 'retrying'))"
)
_DUE: Final = text(f"SELECT name {_WHO_IS_DUE} ORDER BY name")
ANY_DUE: Final = f"EXISTS (SELECT {_WHO_IS_DUE})"
"""Whether `due` finds any, as SQL."""


ANYBODY: Final = "EXISTS (SELECT FROM subscribers WHERE state = 'active')"
"""Whether anybody is to be delivered to, as SQL."""


def anybody(connection: Connection) -> bool:
    """Whether anybody is to be delivered to."""
    return bool(connection.scalar(text(f"SELECT {ANYBODY}")))


def take(connection: Connection, name: str) -> Lease | None:
    """Take a subscriber for ourselves; None when it is none, put off, paused, or somebody else's."""
    mine = uuid.uuid4()
    row = connection.execute(_TAKE, {"mine": mine, "seconds": LEASE_SECONDS, "name": name}).one_or_none()
    return None if row is None else _lease(row, mine)


# What it takes to deliver comes with the lease: to ask is most of what a small delivery costs.
_BESIDE: Final = (
    "(SELECT settings FROM subscriber_secrets AS of WHERE of.name = subscribers.name) AS hidden, "
    "EXISTS (SELECT FROM feed_refusals AS of WHERE of.subscriber = subscribers.name AND of.state = 'retrying') AS again"
)
_TAKE: Final = text(
    # Of one that older code added, or upgraded from, the events are counted from now on.
    "UPDATE subscribers SET leased_by = :mine, leased_until = now() + make_interval(secs => :seconds), "
    "counted_from = coalesce(counted_from, position), "
    "counted_from_place = CASE WHEN counted_from IS NULL THEN place ELSE counted_from_place END, "
    "counted_before = CASE WHEN counted_from IS NULL THEN delivered + filtered + refused "
    "                 ELSE counted_before END "
    f"WHERE name = :name AND {_FREE} RETURNING subscribers.*, {_BESIDE}"
)


def leased(connection: Connection, name: str, mine: uuid.UUID) -> Lease:
    """A subscriber with all that delivering to it takes; that it is ours was seen to."""
    query = text(f"SELECT subscribers.*, {_BESIDE} FROM subscribers WHERE name = :name")
    return _lease(connection.execute(query, {"name": name}).one(), mine)


def _lease(row: Row[Any], mine: uuid.UUID) -> Lease:
    return Lease(
        row.name,
        mine,
        row.token,
        row.sink,
        row.settings | (row.hidden or {}),
        Filter(
            tuple(row.sources),
            tuple(row.campaigns),
            tuple(row.kinds),
            None if row.dispositions is None else tuple(row.dispositions),
        ),
        None if row.fields is None else tuple(row.fields),
        row.shape,
        row.ordering,
        Cursor(row.position, row.place),
        row.misses,
        row.refused,
        again=row.again,
    )


def renew(connection: Connection, lease: Lease) -> bool:
    """Keep a subscriber for longer; False when it is no longer ours."""
    return bool(change_leased(connection, lease, "leased_until = now() + make_interval(secs => :seconds)"))


def advance(
    connection: Connection,
    lease: Lease,
    to: Cursor,
    *,
    delivered: int,
    filtered: int,
    refused: int = 0,
    lets_go: bool = False,
) -> str | None:
    """Move the cursor behind what was delivered; its state, of which only ``active`` goes on. None: not ours any more.

    Each event that the cursor passes is counted as what became of it, here and nowhere else: so ``pipeline balance``
    can hold the counts against the feed. Where the lease is somebody else's nothing is counted, and they do it again.

    Args:
        connection: the transaction.
        lease: ours.
        to: where it is now.
        delivered: events taken since it was last moved.
        filtered: events passed over.
        refused: those that the other side would not have, or that somebody gave up.
        lets_go: nothing more is to be delivered for now, and the lease is given back.
    """
    lease_until = "NULL" if lets_go else "now() + make_interval(secs => :seconds)"
    return change_leased(
        connection,
        lease,
        "position = :position, place = :place, delivered = delivered + :delivered, filtered = filtered + :filtered, "
        f"refused = refused + :refused, leased_until = {lease_until}, "
        f"leased_by = {'NULL' if lets_go else 'leased_by'}, "
        "misses = CASE WHEN :delivered > 0 THEN 0 ELSE misses END, "
        "last_error = CASE WHEN :delivered > 0 THEN NULL ELSE last_error END, "
        "delivered_at = CASE WHEN :delivered > 0 THEN clock_timestamp() ELSE delivered_at END" + _paced(lease),
        **to._asdict(),
        delivered=delivered,
        filtered=filtered,
        refused=refused,
    )


def _paced(lease: Lease) -> str:
    """When a replay may go on, by what it has brought: it is not held while it waits."""
    if lease.replay is None:
        return ""
    caught_up = f"clock_timestamp() - make_interval(secs => {REPLAY_CATCHES_UP_SECONDS})"
    took = f"make_interval(secs => (:delivered + :refused) / {lease.replay.rate:d}.0)"
    return f", due_at = greatest(due_at, {caught_up}) + {took}"


def let_go(connection: Connection, lease: Lease) -> None:
    """Nothing more is to be delivered for now."""
    change_leased(connection, lease, "leased_by = NULL, leased_until = NULL")


def miss(connection: Connection, lease: Lease, reason: str, *, wait_seconds: float, counts: bool = True) -> None:
    """It took nothing: it is tried again after a while.

    Args:
        connection: the transaction.
        lease: ours; it is given back.
        reason: a sentence for the operator.
        wait_seconds: until the next try.
        counts: False: nothing is wrong, it only has no room at the moment.
    """
    change_leased(
        connection,
        lease,
        "leased_by = NULL, leased_until = NULL, due_at = clock_timestamp() + make_interval(secs => :wait), "
        "misses = misses + :counts, last_error = :reason, last_error_at = clock_timestamp()",
        wait=wait_seconds,
        counts=int(counts),
        reason=reason[:ERROR_CHARACTERS],
    )


def end(
    connection: Connection, lease: Lease, state: str, reason: str | None, hole: tuple[int, int] | None = None
) -> None:
    """Deliver nothing more until a person says so.

    Args:
        connection: the transaction.
        lease: ours; it is given back.
        state: ``expired`` or ``disabled``; of a replay ``done``, ``expired`` or ``stopped``.
        reason: a sentence for the operator; None: there is nothing to say.
        hole: the first and the last position that it will never get.
    """
    change_leased(
        connection,
        lease,
        "leased_by = NULL, leased_until = NULL, state = :state, state_since = now(), state_reason = :reason, "
        "hole_from = coalesce(:hole_from, hole_from), hole_to = coalesce(:hole_to, hole_to)",
        state=state,
        reason=reason and reason[:ERROR_CHARACTERS],
        hole_from=hole and hole[0],
        hole_to=hole and hole[1],
    )


def change_leased(connection: Connection, lease: Lease, changes: str, **values: Any) -> str | None:
    """Change what is leased while it is ours; its state, or None when it is somebody else's by now.

    Args:
        connection: the transaction.
        lease: ours.
        changes: what to set, in SQL.
        values: of the parameters in it.
    """
    statement = text(f"UPDATE {_OURS[lease.replay is not None].format(changes=changes)}")
    values |= {"name": lease.name, "mine": lease.mine, "seconds": LEASE_SECONDS}
    state: str | None = connection.scalar(statement, values | ({"id": lease.replay.id} if lease.replay else {}))
    return state


# A replay goes on while its subscriber is not paused or disabled; an expired one still gets what the feed holds.
_OURS: Final = {
    False: "subscribers SET {changes} WHERE name = :name AND leased_by = :mine RETURNING state",
    True: "replays SET {changes} WHERE id = :id AND leased_by = :mine RETURNING CASE WHEN EXISTS ("
    "  SELECT FROM subscribers AS of WHERE of.name = :name AND of.state IN ('active', 'expired')) "
    "  THEN state ELSE 'held' END",
}
