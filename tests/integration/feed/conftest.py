"""A feed with subscribers whose sinks are lists on a real Redis, without the sinks of this project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import redis

from pipeline.feed import subscribers
from pipeline.feed.deliver import Delivery, deliver
from pipeline.feed.rules.event import CHANGED, KINDS
from pipeline.feed.rules.filter import Filter
from pipeline.feed.sequence import place
from pipeline.feed.sinks.base import RefusedError, SinkAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

    from pipeline.feed.rules.event import Event


OF_CALLS = tuple(kind for kind in KINDS if kind != CHANGED)


class ListSink:
    """Pushes what it gets, with its position, to a list; it refuses and is away as a test wants it."""

    most_events = 50

    def __init__(self, client: redis.Redis, name: str, options: dict[str, Any]) -> None:
        self._client, self._name, self._options = client, name, options
        self.most_events = options.get("most_events", self.most_events)
        self._taken = 0

    def deliver(self, events: Sequence[Event]) -> None:
        self._options.setdefault("offered", []).append(len(events))
        if self._options.get("away") or self._options.get("away_after") == self._taken:
            raise SinkAwayError("nobody answers at redis://:hush-hush@there")
        refused = self._options.get("refuses", ())
        if any(event.call_ref in refused for event in events):
            raise RefusedError("too large")
        for event in events:
            told = {"at": [event.position, event.place], "id": str(event.event_id), "kind": event.kind}
            told |= {"ref": event.call_ref, "body": event.body.decode()}
            self._client.rpush(self._name, json.dumps(told))
        self._taken += len(events)
        if then := self._options.get("then"):
            then()

    def delivered(self) -> tuple[int, int] | None:
        return None

    def forget(self) -> None:
        pass

    def close(self) -> None:
        pass


class Feed:
    """What a test does with the feed of its database."""

    def __init__(self, engine: Engine, client: redis.Redis) -> None:
        self.engine, self.client = engine, client
        self.options: dict[str, dict[str, Any]] = {}

    def add(self, name: str = "one", *, from_start: bool = True, **changes: Any) -> None:
        wanted: dict[str, Any] = {"sources": ("*",), "campaigns": ("*",), "kinds": OF_CALLS, "dispositions": None}
        wanted |= {each: changes.pop(each) for each in tuple(changes) if each in wanted}
        given = {"shape": "thin", "ordering": "none", "settings": {}, "secrets": {}, "sink": "test"} | changes
        new = subscribers.NewSubscriber(name, wanted=Filter(**wanted), **given)
        subscribers.check(new)
        with self.engine.begin() as connection:
            subscribers.add(connection, new, who="test", from_start=from_start)

    def deliver(self, name: str = "one", *, seconds: float = 10, settle_seconds: float = 0, **given: Any) -> Delivery:
        place(self.engine)
        return deliver(
            self.engine,
            name,
            open_sink=self.open,
            seconds=seconds,
            settle_seconds=settle_seconds,
            chance=lambda: 0.5,
            **given,
        )

    def open(self, kind: str, settings: Any, *, subscriber: str) -> ListSink:
        name = subscriber.split(".", maxsplit=1)[0]
        return ListSink(self.client, f"to:{name}", self.options.setdefault(name, {}))

    def got(self, name: str = "one") -> list[dict[str, Any]]:
        return [json.loads(each) for each in self.client.lrange(f"to:{name}", 0, -1)]

    def refs(self, name: str = "one") -> list[tuple[str, str]]:
        return [(each["kind"], each["ref"]) for each in self.got(name)]

    def show(self, name: str = "one") -> subscribers.Subscriber:
        with self.engine.connect() as connection:
            return subscribers.read_subscriber(connection, name)


@pytest.fixture
def feed(engine, servers) -> Iterator[Feed]:
    client = redis.Redis.from_url(servers.broker.url, decode_responses=True)
    yield Feed(engine, client)
    client.delete(*(f"to:{name}" for name in ("one", "two", "three")))
    client.close()
