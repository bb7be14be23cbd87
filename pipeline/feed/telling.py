"""What a sink was sent and said, as it may be told: without what its settings hide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.logs.rules.secrets import mask, secret_values, secrets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import RefusedError


def masked(text: str, settings: Mapping[str, Any]) -> str:
    """A text without what a sink's settings hide."""
    texts = [value for value in settings.values() if isinstance(value, str)]
    return mask(text, {*secrets_of(*texts), *secret_values(settings)})


class Told(NamedTuple):
    """What became of an event that was refused, secrets masked."""

    reason: str
    answer: str
    request: str


def told(error: RefusedError, event: Event, settings: Mapping[str, Any]) -> Told:
    """Why an event was refused, what was said, and what was sent: as the sink tells it, or else the event's body."""
    request = error.request or f"Content-Type: {event.content_type}\n\n{event.body.decode(errors='backslashreplace')}"
    return Told(*(masked(each, settings) for each in (str(error), error.answer, request)))
