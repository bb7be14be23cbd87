"""Events that a subscriber gets once more: a cursor of its own beside the main one, slower, and with an end.

A replay brings what the main cursor has passed, by the same event ids, and goes no further: what still waits comes by
itself. Each start and cancelling leaves a line in ``actions``.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from pipeline.balance.fed import count_events
from pipeline.database.audit import record_action
from pipeline.database.tables import replays
from pipeline.feed.cursors import LEASE_SECONDS, leased
from pipeline.feed.rules.cursor import Cursor, Lease, Replay
from pipeline.feed.rules.event import LAST_PLACE
from pipeline.feed.rules.filter import ALL
from pipeline.feed.subscribers import StandsOtherwiseError, SubscriberError, read_subscriber

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.feed.subscribers import Subscriber

RATE: Final = 100
"""Events a second, where nobody says how many."""
HIGHEST_RATE: Final = 10_000

MOST_AT_ONCE: Final = 3
"""So many replays are carried at a time; the other threads of the feed process are for what happens now."""


class Asked(NamedTuple):
    """What is to come once more."""

    since: datetime
    until: datetime | None = None
    campaigns: tuple[str, ...] | None = None
    """None: all that the subscriber gets."""
    rate: int = RATE
    from_what_is_left: bool = False
    """Whether it may begin later, where the feed no longer holds the beginning."""


class ShownReplay(NamedTuple):
    """A replay as it is shown."""

    id: int
    subscriber: str
    since: datetime
    until: datetime | None
    campaigns: list[str] | None
    rate: int
    events: int
    state: str
    state_since: datetime
    state_reason: str | None
    position: int
    place: int
    misses: int
    due_at: datetime
    last_error: str | None
    last_error_at: datetime | None
    delivered: int
    filtered: int
    refused: int
    delivered_at: datetime | None
    hole_from: int | None
    hole_to: int | None
    created_at: datetime
    created_by: str

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return min(1.0, (self.delivered + self.filtered + self.refused) / self.events) if self.events else 1.0


def start(
    connection: Connection,
    name: str,
    asked: Asked,
    *,
    who: str,
    show: Callable[[datetime], str],
    why: str | None = None,
) -> ShownReplay:
    """Have what a subscriber had come once more; it begins at once.

    Args:
        connection: the transaction: all of it, or nothing.
        name: the subscriber's.
        asked: what is asked for.
        who: does it, for the record.
        show: an instant as a person reads it, for what cannot be.
        why: for the record.

    Raises:
        SubscriberError: there is none of that name, it is being replayed to, the feed no longer holds all of that
            time, or nothing happened in it; with a sentence.
    """
    found = read_subscriber(connection, name)
    _check(found, asked)
    begin, last = _extent(connection, found, asked, show)
    events = count_events(
        connection,
        (begin, last.position),
        kinds=found.kinds,
        sources=found.sources,
        since=asked.since,
        until=asked.until,
    )
    if not events:
        raise StandsOtherwiseError(f"nothing that subscriber {name} gets happened in that time")
    new: dict[str, Any] = {
        "subscriber": name,
        "since": asked.since,
        "until": asked.until,
        "campaigns": None if asked.campaigns is None else list(asked.campaigns),
        "rate": asked.rate,
        "events": events,
        "last_position": last.position,
        "last_place": last.place,
        "state": "active",
        "position": begin,
        "place": LAST_PLACE,
        "created_by": who,
    }
    making = insert(replays).values(new)
    making = making.on_conflict_do_nothing(index_elements=["subscriber"], index_where=text("state = 'active'"))
    made = connection.scalar(making.returning(replays.c.id))
    if made is None:
        raise StandsOtherwiseError(f"subscriber {name} is being replayed to already: let it end, or --cancel it first")
    told = {"name": name, "replay": made, "since": asked.since.isoformat(), "reason": why}
    told |= {"until": asked.until and asked.until.isoformat(), "campaigns": asked.campaigns, "rate": asked.rate}
    record_action(connection, who, "subscriber replay begun", told)
    return replays_of(connection, name, limit=1)[0]


def _check(found: Subscriber, asked: Asked) -> None:
    if not 1 <= asked.rate <= HIGHEST_RATE:
        raise SubscriberError(f"--rate must be from 1 to {HIGHEST_RATE:,} events a second, got {asked.rate}")
    if asked.until is not None and asked.until <= asked.since:
        raise SubscriberError("--until must be later than --since")
    if found.state in {"paused", "disabled"}:
        raise StandsOtherwiseError(f"subscriber {found.name} is {found.state}: resume it first")
    if ALL not in found.campaigns and (foreign := sorted(set(asked.campaigns or ()) - set(found.campaigns))):
        raise SubscriberError(
            f"subscriber {found.name} does not get campaign {foreign[0]}: it gets {', '.join(found.campaigns)}"
        )


def _extent(
    connection: Connection, found: Subscriber, asked: Asked, show: Callable[[datetime], str]
) -> tuple[int, Cursor]:
    """Behind which position a replay begins, and its last event."""
    held = connection.execute(_HELD, {"since": asked.since, "until": asked.until}).one()
    is_cut_off = held.oldest_at is None or asked.since < held.oldest_at
    if is_cut_off and held.something_is_gone and not asked.from_what_is_left:
        left = f"it holds what happened since {show(held.oldest_at)}" if held.oldest_at else "it holds nothing"
        raise StandsOtherwiseError(
            f"the feed no longer holds all of that time: {left}. To replay from what is left, add --from-what-is-left"
        )
    main = Cursor(found.position, found.place)
    if held.first is None or (last := min(Cursor(held.last, LAST_PLACE), main)).position < held.first:
        raise StandsOtherwiseError(
            f"nothing that subscriber {found.name} has had happened in that time; what still waits comes by itself"
        )
    return held.first - 1, last


# Dropped is what is older than the row that is the oldest there; or it happened before there was a feed.
_HELD: Final = text(
    "SELECT min(position) FILTER (WHERE at >= :since AND at < coalesce(:until, 'infinity'::timestamptz)) AS first, "
    "  max(position) FILTER (WHERE at >= :since AND at < coalesce(:until, 'infinity'::timestamptz)) AS last, "
    "  (SELECT at FROM feed WHERE position IS NOT NULL ORDER BY position LIMIT 1) AS oldest_at, "
    "  coalesce(min(position) > 1, false) OR EXISTS (SELECT FROM batches WHERE received_at >= :since "
    "    AND received_at < coalesce(:until, 'infinity'::timestamptz) "
    "    AND id < coalesce((SELECT min(batch_id) FROM feed), id + 1)) AS something_is_gone "
    "FROM feed WHERE position IS NOT NULL"
)


def cancel(connection: Connection, name: str, *, who: str, why: str | None = None) -> ShownReplay:
    """Have a subscriber's replay end where it is; returns it as it was.

    Raises:
        SubscriberError: there is no such subscriber, or nothing is being replayed to it.
    """
    read_subscriber(connection, name)
    reason = f"by {who}{f': {why}' if why else ''}"
    of = replays.c
    ended = replays.update().where(of.subscriber == name, of.state == "active")
    ended = ended.values(state="cancelled", state_since=func.now(), state_reason=reason, leased_by=None)
    cancelled = connection.scalar(ended.returning(of.id))
    if cancelled is None:
        raise StandsOtherwiseError(f"nothing is being replayed to subscriber {name}")
    record_action(connection, who, "subscriber replay cancelled", {"name": name, "replay": cancelled, "reason": why})
    return replays_of(connection, name, limit=1)[0]


def replays_of(connection: Connection, name: str, *, limit: int) -> list[ShownReplay]:
    """A subscriber's replays, the newest first."""
    of = replays.c
    query = select(*(of[each] for each in ShownReplay._fields)).where(of.subscriber == name)
    return [ShownReplay(*row) for row in connection.execute(query.order_by(of.id.desc()).limit(limit))]


def active_replays(connection: Connection) -> dict[str, ShownReplay]:
    """The replays that are under way, by subscriber."""
    of = replays.c
    query = select(*(of[each] for each in ShownReplay._fields)).where(of.state == "active")
    return {row.subscriber: ShownReplay(*row) for row in connection.execute(query)}


def due_replays(connection: Connection) -> list[str]:
    """The subscribers whose replay may go on and is carried by nobody, the one that waits longest first."""
    return list(connection.scalars(_DUE))


def take_replay(connection: Connection, name: str) -> Lease | None:
    """Take a subscriber's replay for ourselves; None: there is none, it is not due, or enough others are carried."""
    mine = uuid.uuid4()
    row = connection.execute(_TAKE, {"mine": mine, "seconds": LEASE_SECONDS, "name": name}).one_or_none()
    if row is None:
        return None
    lease = leased(connection, name, mine)
    replay = Replay(row.id, row.since, row.until, Cursor(row.last_position, row.last_place), row.rate)
    wanted = lease.wanted if row.campaigns is None else lease.wanted._replace(campaigns=tuple(row.campaigns))
    cursor = Cursor(row.position, row.place)
    return lease._replace(replay=replay, wanted=wanted, cursor=cursor, misses=row.misses, refused=row.refused)


_FREE: Final = (
    "replays.state = 'active' AND replays.due_at <= now() "
    "AND (replays.leased_by IS NULL OR replays.leased_until < now()) "
    "AND subscribers.name = replays.subscriber AND subscribers.state IN ('active', 'expired')"
)
_WHO_IS_DUE: Final = f"FROM replays, subscribers WHERE {_FREE}"
_DUE: Final = text(f"SELECT subscriber {_WHO_IS_DUE} ORDER BY replays.due_at")
ANY_DUE: Final = f"EXISTS (SELECT {_WHO_IS_DUE})"
"""Whether `due_replays` finds any, as SQL."""
_TAKE: Final = text(
    "UPDATE replays SET leased_by = :mine, leased_until = now() + make_interval(secs => :seconds) FROM subscribers "
    f"WHERE replays.subscriber = :name AND {_FREE} "
    f"AND (SELECT count(*) FROM replays AS other "
    f"     WHERE other.leased_by IS NOT NULL AND other.leased_until > now()) < {MOST_AT_ONCE} "
    "RETURNING replays.id, since, until, replays.campaigns, rate, last_position, last_place, replays.position, "
    "  replays.place, replays.misses, replays.refused"
)
