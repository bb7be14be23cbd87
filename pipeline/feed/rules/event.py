"""What happened to a call, or by it to its contact, and what identifies it."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

RECEIVED: Final = "call.received"
FINISHED: Final = "call.finished"
CORRECTED: Final = "call.corrected"
ENDED: Final = "recording.ended"
CHANGED: Final = "contact.changed"
KINDS: Final = (RECEIVED, FINISHED, CORRECTED, ENDED, CHANGED)

LAST_PLACE: Final = 65_535
"""No event of a position stands behind this place (``pipeline/record_ids.py``): the whole position was gone through."""

_NAMESPACE: Final = uuid.UUID("6f1f7a52-5c0b-5d1e-9a39-0c6c1a6f4b1d")
"""Of the events of this pipeline; any will do that stays the same."""


class Event(NamedTuple):
    """One thing that happened to one call, as a subscriber gets it."""

    position: int
    """Of its feed row: gapless, monotone, given after commit."""
    place: int
    """Among the events of that row, so that (position, place) orders all events."""
    event_id: uuid.UUID
    """The same on every retry, replay and rebuild."""
    kind: str
    source: str
    call_ref: str
    campaign: str | None
    """None: the record is not readable enough to say."""
    at: datetime
    """When it happened, aware."""
    content_type: str
    body: bytes
    """In the subscriber's shape already."""


def event_id(source: str, call_ref: str, kind: str, revision: int | str) -> uuid.UUID:
    """The id of an event, from what it is about alone.

    Args:
        source: the dialler.
        call_ref: the dialler's internal call reference.
        kind: what happened.
        revision: what tells it from others of its kind about the same call.

    >>> event_id("enigma", "7", "call.finished", 0) == event_id("enigma", "7", "call.finished", 0)
    True
    >>> event_id("a", "1", "call.finished", 0) == event_id("a1", "", "call.finished", 0)
    False
    """
    return uuid.uuid5(_NAMESPACE, "\n".join((source, call_ref, kind, str(revision))))


def content_revision(raw: bytes) -> str:
    """The revision of a record received: what it says. A record that repeats another has that one's id.

    >>> content_revision(b"{}")
    '44136fa355b3678a1146ad16f7e8649e'
    """
    return hashlib.sha256(raw).hexdigest()[:32]
