"""The body of one request that carries events, and its id."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.feed.rules.shape import CLOUDEVENTS_TYPE, in_envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.feed.rules.event import Event

BATCH_TYPE: Final = "application/cloudevents-batch+json"


class Request(NamedTuple):
    """What is sent; the body is UTF-8 always, for it is signed as text."""

    message_id: str
    content_type: str
    body: bytes


def one(event: Event) -> Request:
    """An event by itself, under its own id. One whose bytes are no text goes in an envelope, in base64."""
    try:
        event.body.decode()
    except UnicodeDecodeError:
        return Request(str(event.event_id), CLOUDEVENTS_TYPE, in_envelope(event))
    return Request(str(event.event_id), event.content_type, event.body)


def many(events: Sequence[Event]) -> Request:
    """Events as one JSON array; the same ones have the same id, on every try.

    Args:
        events: one or more. Those that are no CloudEvents go in an envelope each, their bytes in base64.
    """
    ids = "\n".join(str(event.event_id) for event in events)
    bodies = (event.body if event.content_type == CLOUDEVENTS_TYPE else in_envelope(event) for event in events)
    return Request(str(uuid.uuid5(events[0].event_id, ids)), BATCH_TYPE, b"[" + b",".join(bodies) + b"]")
