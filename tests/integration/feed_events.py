"""Events as the feed hands them to a sink."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from pipeline.feed.rules.event import FINISHED, Event, event_id
from pipeline.feed.rules.shape import CLOUDEVENTS_TYPE
from pipeline.feed.sinks import open_sink


def event(position: int = 1, place: int = 0, **changes) -> Event:
    """An event of this position and place; its id and body follow from them unless told."""
    ref = changes.pop("call_ref", f"{position}-{place}")
    kind, source = changes.pop("kind", FINISHED), changes.pop("source", "enigma")
    of = event_id(source, ref, kind, 0)
    body = json.dumps({"specversion": "1.0", "id": str(of), "type": kind}).encode()
    made = Event(
        position, place, of, kind, source, ref, "sales", datetime(2026, 3, 1, tzinfo=UTC), CLOUDEVENTS_TYPE, body
    )
    return made._replace(**changes)


def events(count: int, *, position: int = 1) -> list[Event]:
    return [event(position, place) for place in range(count)]


def dying(*args, **options):
    """As `open_sink`, but that whoever delivers dies right behind what its sink took."""
    sink = open_sink(*args, **options)
    push = sink.deliver

    def then_die(some):
        push(some)
        raise KeyboardInterrupt

    sink.deliver = then_die
    return sink
