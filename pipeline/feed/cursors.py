"""Who delivers to a subscriber, and how far it is: leased, moved on after each delivery, put off when it takes nothing.

All instants are the database's.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import select, text

from pipeline.database.tables import subscriber_secrets, subscribers
from pipeline.feed.rules.event import LAST_PLACE
from pipeline.feed.rules.filter import Filter

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEASE_SECONDS: Final = 15.0
"""How long a subscriber is its deliverer's without a sign of it; a deliverer that was killed is replaced then."""

ERROR_CHARACTERS: Final = 500


class Cursor(NamedTuple):
    """The last event that was taken or passed over."""

    position: int
    place: int

    @property
    def next_position(self) -> int:
        """The position that is gone on with: the same one, while some of it is left."""
        return self.position + (self.place == LAST_PLACE)


class Lease(NamedTuple):
    """A subscriber that is ours to deliver to, with all that takes."""

    name: str
    mine: uuid.UUID
    token: uuid.UUID
    sink: str
    settings: dict[str, Any]
    """The sink's, its secrets included."""
    wanted: Filter
    fields: tuple[str, ...] | None
    shape: str
    ordering: str
    cursor: Cursor
    misses: int
    refused: int


def due(connection: Connection) -> list[str]:
    """The subscribers that something waits for and nobody delivers to, those put off excepted."""
    return list(connection.scalars(_DUE))


_FREE = "subscribers.state = 'active' AND due_at <= now() AND (leased_until IS NULL OR leased_until < now())"
_DUE = text(
    f"SELECT name FROM subscribers WHERE {_FREE} AND ((position, place) < "
    f"((SELECT coalesce(max(position), 0) FROM feed), {LAST_PLACE}) OR EXISTS ("
    "SELECT FROM feed_refusals WHERE subscriber = name AND feed_refusals.state = 'retrying')) ORDER BY name"
)


def anybody(connection: Connection) -> bool:
    """Whether anybody is to be delivered to."""
    return bool(connection.scalar(text("SELECT EXISTS (SELECT FROM subscribers WHERE state = 'active')")))


def take(connection: Connection, name: str) -> Lease | None:
    """Take a subscriber for ourselves; None when it is none, put off, paused, or somebody else's."""
    mine = uuid.uuid4()
    taken = connection.execute(
        text(
            "UPDATE subscribers SET leased_by = :mine, leased_until = now() + make_interval(secs => :seconds) "
            f"WHERE name = :name AND {_FREE}"
        ),
        {"mine": mine, "seconds": LEASE_SECONDS, "name": name},
    )
    if not taken.rowcount:
        return None
    of = subscribers.c
    row = connection.execute(select(subscribers).where(of.name == name)).one()
    secrets = subscriber_secrets.c
    hidden = connection.scalar(select(secrets.settings).where(secrets.name == name)) or {}
    return Lease(
        name,
        mine,
        row.token,
        row.sink,
        row.settings | hidden,
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
    )


def renew(connection: Connection, lease: Lease) -> bool:
    """Keep a subscriber for longer; False when it is no longer ours."""
    return bool(change_leased(connection, lease, "leased_until = now() + make_interval(secs => :seconds)"))


def advance(
    connection: Connection, lease: Lease, to: Cursor, *, delivered: int, filtered: int, refused: int = 0
) -> bool:
    """Move the cursor behind what was delivered; False when this deliverer should stop.

    Args:
        connection: the transaction.
        lease: ours.
        to: where it is now.
        delivered: events taken since it was last moved.
        filtered: events passed over.
        refused: those passed over because somebody gave them up.
    """
    state = change_leased(
        connection,
        lease,
        "position = :position, place = :place, delivered = delivered + :delivered, filtered = filtered + :filtered, "
        "refused = refused + :refused, "
        "leased_until = now() + make_interval(secs => :seconds), "
        "misses = CASE WHEN :delivered > 0 THEN 0 ELSE misses END, "
        "last_error = CASE WHEN :delivered > 0 THEN NULL ELSE last_error END, "
        "delivered_at = CASE WHEN :delivered > 0 THEN clock_timestamp() ELSE delivered_at END",
        **to._asdict(),
        delivered=delivered,
        filtered=filtered,
        refused=refused,
    )
    return state == "active"


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


def end(connection: Connection, lease: Lease, state: str, reason: str, hole: tuple[int, int] | None = None) -> None:
    """Deliver nothing more until a person says so.

    Args:
        connection: the transaction.
        lease: ours; it is given back.
        state: ``expired``, ``disabled`` or ``paused``.
        reason: a sentence for the operator.
        hole: the first and the last position that it will never get.
    """
    change_leased(
        connection,
        lease,
        "leased_by = NULL, leased_until = NULL, state = :state, state_since = now(), state_reason = :reason, "
        "hole_from = coalesce(:hole_from, hole_from), hole_to = coalesce(:hole_to, hole_to)",
        state=state,
        reason=reason[:ERROR_CHARACTERS],
        hole_from=hole and hole[0],
        hole_to=hole and hole[1],
    )


def change_leased(connection: Connection, lease: Lease, changes: str, **values: Any) -> str | None:
    """Change a subscriber while it is ours; its state, or None when it is somebody else's by now.

    Args:
        connection: the transaction.
        lease: ours.
        changes: what to set, in SQL.
        values: of the parameters in it.
    """
    statement = text(f"UPDATE subscribers SET {changes} WHERE name = :name AND leased_by = :mine RETURNING state")
    values |= {"name": lease.name, "mine": lease.mine, "seconds": LEASE_SECONDS}
    state: str | None = connection.scalar(statement, values)
    return state
