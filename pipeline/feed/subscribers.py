"""Who subscribed to the feed: added, shown, paused, resumed, removed. Each leaves a line in ``actions``."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.calls.rules.disposition import Disposition
from pipeline.database.audit import record_action
from pipeline.database.tables import feed_refusals, subscriber_secrets, subscribers
from pipeline.errors import PipelineError
from pipeline.feed.rules.event import KINDS, LAST_PLACE, RECEIVED
from pipeline.feed.rules.filter import ALL, Filter
from pipeline.feed.rules.shape import CALL, SHAPES
from pipeline.feed.sequence import head
from pipeline.lookup.rules.history import CallRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

ORDERINGS: Final = ("strict", "per call", "none")
"""What may overtake a refused event: nothing, what is of other calls, anything."""

PARTS: Final = ("call", "net", "not_charged", "disposition", "charges", "recording", "failures", "versions", "history")
"""Of a call as ``explain --json`` has it."""

FIELDS: Final = (*PARTS, *(f"call.{name}" for name in CallRow._fields))
"""What `fields` may name."""

_NAME: Final = re.compile("[a-z0-9][a-z0-9_-]{0,47}")


class SubscriberError(PipelineError):
    """What was asked for cannot be: an option says something impossible, or the subscriber is not there."""


class StandsOtherwiseError(SubscriberError):
    """There is no such subscriber, or it stands otherwise than what was asked for needs."""


class NewSubscriber(NamedTuple):
    """What somebody asks for."""

    name: str
    sink: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, Any]
    wanted: Filter
    shape: str
    ordering: str
    fields: tuple[str, ...] | None = None


class Subscriber(NamedTuple):
    """A subscriber as it is shown: without its secrets."""

    name: str
    sink: str
    state: str
    state_since: datetime
    state_reason: str | None
    settings: dict[str, Any]
    sources: list[str]
    campaigns: list[str]
    kinds: list[str]
    dispositions: list[str] | None
    fields: list[str] | None
    shape: str
    ordering: str
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
    counted_from: int | None
    counted_from_place: int | None
    counted_before: int
    missed: int
    rows_behind: int
    """Rows of the feed that it has not gone through: of batches, or of single calls."""
    behind_since: datetime | None
    """When the oldest of those happened."""


class RefusedEvent(NamedTuple):
    """An event that the other side would not have."""

    position: int
    place: int
    event_id: uuid.UUID
    kind: str
    source: str
    call_ref: str
    reason: str
    answer: str
    refused_at: datetime
    state: str
    attempts: int


def check(new: NewSubscriber) -> None:
    """Whether what is asked for can be; of the sink's settings its own module says it.

    Raises:
        SubscriberError: naming the option, and what it must be.
    """
    if not _NAME.fullmatch(new.name):
        raise SubscriberError(
            f"the name must be at most 48 small letters, digits, - and _, and begin with none of the last two, "
            f"got {new.name!r}"
        )
    _among("--kind", new.wanted.kinds, KINDS)
    _among("--shape", [new.shape], SHAPES)
    _among("--order", [new.ordering], ORDERINGS)
    _among("--disposition", new.wanted.dispositions or (), [each.value for each in Disposition])
    _check_wall(new.wanted)
    if new.fields is not None:
        if new.shape != CALL:
            raise SubscriberError(f"--field is for the shape {CALL} alone, and this is {new.shape}")
        _among("--field", new.fields, FIELDS)
    if new.wanted.dispositions is not None and RECEIVED in new.wanted.kinds:
        raise SubscriberError(f"--disposition cannot narrow {RECEIVED}: a record just received is not classified yet")
    if both := sorted(set(new.settings) & set(new.secrets)):
        raise SubscriberError(f"{both[0]} is given both as a setting and as a secret")


def _check_wall(wanted: Filter) -> None:
    """Nothing is let through that is not named."""
    if not wanted.kinds:
        raise SubscriberError(f"--kind must be given: any of {', '.join(KINDS)}")
    for option, named in (("--source", wanted.sources), ("--campaign", wanted.campaigns)):
        if not named:
            raise SubscriberError(f"{option} must be given, or nothing would be delivered: names, or {ALL} for all")
        if ALL in named and len(named) > 1:
            raise SubscriberError(f"{option} must be names, or {ALL} alone")
        if odd := [each for each in named if each != ALL and (ALL in each or not each.strip())]:
            raise SubscriberError(f"{option} takes whole names, or {ALL} alone for all, got {odd[0]!r}")


def _among(option: str, values: Collection[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            raise SubscriberError(f"{option} must be one of {', '.join(known)}, got {value!r}")


def add(connection: Connection, new: NewSubscriber, *, who: str, from_start: bool = False) -> int:
    """Add a subscriber; returns the position behind which it begins.

    Args:
        connection: the transaction: all of it, or nothing.
        new: what is asked for, checked.
        who: does it, for the record.
        from_start: whether it gets what the feed still holds; else what happens from now on.

    Raises:
        SubscriberError: the name is taken.
    """
    # What happens from now on has a higher position: the sequencer waits for nobody, but it is done before it is asked.
    newest = head(connection)
    oldest = int(connection.scalar(text("SELECT coalesce(min(position), 1) FROM feed")))
    begin = oldest - 1 if from_start else newest
    wanted = new.wanted
    values = {
        "name": new.name,
        "token": uuid.uuid4(),
        "sink": new.sink,
        "settings": dict(new.settings),
        "sources": list(wanted.sources),
        "campaigns": list(wanted.campaigns),
        "kinds": list(wanted.kinds),
        "dispositions": None if wanted.dispositions is None else list(wanted.dispositions),
        "fields": None if new.fields is None else list(new.fields),
        "shape": new.shape,
        "ordering": new.ordering,
        "state": "active",
        "position": begin,
        "place": LAST_PLACE,
        "counted_from": begin,
        "counted_from_place": LAST_PLACE,
        "created_by": who,
    }
    adding = insert(subscribers).values(values).on_conflict_do_nothing(index_elements=["name"])
    if connection.scalar(adding.returning(subscribers.c.name)) is None:
        raise SubscriberError(f"there is a subscriber {new.name} already: choose another name, or remove it")
    if new.secrets:
        connection.execute(insert(subscriber_secrets).values(name=new.name, settings=dict(new.secrets)))
    told = {"name": new.name, "sink": new.sink, "sources": wanted.sources, "campaigns": wanted.campaigns}
    record_action(connection, who, "subscriber added", told)
    return begin


def all_subscribers(connection: Connection, name: str | None = None) -> list[Subscriber]:
    """The subscribers, by name, or one of them."""
    of = subscribers.c
    own = [of[each] for each in Subscriber._fields[:-2]]
    behind = text(
        "SELECT count(*), min(at) FROM feed WHERE feed.position > :position "
        "OR (feed.position = :position AND :place < :last_place)"
    )
    query = select(*own).order_by(of.name)
    found = connection.execute(query if name is None else query.where(of.name == name)).all()
    lags = [
        connection.execute(behind, {"position": row.position, "place": row.place, "last_place": LAST_PLACE}).one()
        for row in found
    ]
    return [Subscriber(*row, *lag) for row, lag in zip(found, lags, strict=True)]


def names_of_subscribers(connection: Connection) -> list[str]:
    """What the subscribers are called."""
    return list(connection.scalars(select(subscribers.c.name).order_by(subscribers.c.name)))


def read_subscriber(connection: Connection, name: str) -> Subscriber:
    """One subscriber.

    Raises:
        SubscriberError: there is none of that name.
    """
    found = all_subscribers(connection, name)
    if not found:
        names = names_of_subscribers(connection)
        known = f"there are {', '.join(names)}" if names else "there is none at all"
        raise StandsOtherwiseError(f"there is no subscriber {name}: {known}")
    return found[0]


def refusals_of(connection: Connection, name: str, *, limit: int) -> list[RefusedEvent]:
    """The newest events that a subscriber's other side would not have."""
    of = feed_refusals.c
    columns = [of[each] for each in RefusedEvent._fields]
    rows = connection.execute(select(*columns).where(of.subscriber == name).order_by(of.id.desc()).limit(limit))
    return [RefusedEvent(*row) for row in rows]


def secrets_of_subscriber(connection: Connection, name: str) -> dict[str, Any]:
    """What only its sink is to know."""
    return connection.scalar(select(subscriber_secrets.c.settings).where(subscriber_secrets.c.name == name)) or {}


def rotate(connection: Connection, name: str, secrets: Mapping[str, Any], *, who: str) -> dict[str, Any]:
    """Give a subscriber's sink other secrets, its cursor as it is; returns all its settings, for them to be checked.

    Args:
        connection: the transaction: all of it, or nothing.
        name: the subscriber's.
        secrets: those that are replaced.
        who: does it, for the record.

    Raises:
        SubscriberError: there is none of that name, or what is to be replaced is no secret of it.
    """
    found, hidden = read_subscriber(connection, name), secrets_of_subscriber(connection, name)
    if strange := sorted(set(secrets) - set(hidden)):
        has = f"it has {', '.join(sorted(hidden))}" if hidden else "it has none"
        raise SubscriberError(f"{strange[0]} is no secret of subscriber {name}: {has}")
    now = hidden | dict(secrets)
    of = subscriber_secrets.c
    connection.execute(update(subscriber_secrets).where(of.name == name).values(settings=now))
    record_action(connection, who, "subscriber's secrets rotated", {"name": name, "secrets": sorted(secrets)})
    return found.settings | now


def pause(connection: Connection, name: str, *, who: str, reason: str | None) -> None:
    """Deliver nothing until it is resumed; what waits is kept, as long as the feed is.

    Raises:
        SubscriberError: there is none of that name, or it is not active.
    """
    found = read_subscriber(connection, name)
    if found.state != "active":
        raise StandsOtherwiseError(f"subscriber {name} is {found.state} already")
    _set_state(connection, name, "paused", f"by {who}{f': {reason}' if reason else ''}")
    record_action(connection, who, "subscriber paused", {"name": name, "reason": reason})


def resume(
    connection: Connection, name: str, *, who: str, skip_hole: bool = False, reason: str | None = None
) -> Subscriber:
    """Deliver again, at once; returns the subscriber as it was.

    Args:
        connection: the transaction.
        name: the subscriber's.
        who: does it, for the record.
        skip_hole: that the hole of an expired one is known, and it may go on behind it.
        reason: why, if that is said.

    Raises:
        SubscriberError: there is none of that name, it waits for nothing, or is expired and the hole is not accepted.
    """
    found = read_subscriber(connection, name)
    if found.state == "active" and not found.misses:
        raise StandsOtherwiseError(f"subscriber {name} is active, and nothing is wrong with it")
    if found.state == "expired":
        if not skip_hole:
            raise StandsOtherwiseError(
                f"subscriber {name} will never get positions {found.hole_from} to {found.hole_to}: they are past the "
                "retention of the feed. To go on behind them, add --skip-hole"
            )
        values = {"position": found.hole_to, "place": LAST_PLACE}
        connection.execute(update(subscribers).where(subscribers.c.name == name).values(**values))
    _set_state(connection, name, "active", None)
    hole = {"hole_from": found.hole_from, "hole_to": found.hole_to} if found.state == "expired" else {}
    why = {} if reason is None else {"reason": reason}
    record_action(connection, who, "subscriber resumed", {"name": name, **hole, **why})
    return found


def remove(connection: Connection, name: str, *, who: str) -> Subscriber:
    """Forget a subscriber, its cursor, its secrets and what it refused; returns it as it was.

    Raises:
        SubscriberError: there is none of that name.
    """
    found = read_subscriber(connection, name)
    connection.execute(delete(subscribers).where(subscribers.c.name == name))
    told = {"name": name, "sink": found.sink, "position": found.position, "rows_behind": found.rows_behind}
    record_action(connection, who, "subscriber removed", told)
    return found


def _set_state(connection: Connection, name: str, state: str, reason: str | None) -> None:
    values: dict[str, Any] = {"state": state, "state_since": func.now(), "state_reason": reason}
    if state == "active":
        values |= {"misses": 0, "due_at": func.now(), "last_error": None}
    connection.execute(update(subscribers).where(subscribers.c.name == name).values(**values))


def names_of(values: Sequence[str]) -> tuple[str, ...]:
    """Names as they are given to an option: several by comma, or the option several times.

    >>> names_of(["a,b", " c "])
    ('a', 'b', 'c')
    """
    return tuple(dict.fromkeys(each.strip() for value in values for each in value.split(",") if each.strip()))
