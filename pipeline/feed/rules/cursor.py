"""How far a subscriber or a replay of one is, and what it takes to deliver to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.feed.rules.event import LAST_PLACE

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from pipeline.feed.rules.filter import Filter

REPLAY_AT_ONCE_SECONDS: Final = 2
"""How many seconds' events a replay brings in one go: it is woken about as often."""


class Cursor(NamedTuple):
    """The last event that was taken or passed over."""

    position: int
    place: int

    @property
    def next_position(self) -> int:
        """The position that is gone on with: the same one, while some of it is left."""
        return self.position + (self.place == LAST_PLACE)


class Replay(NamedTuple):
    """What a replay brings again, and how fast."""

    id: int
    since: datetime
    until: datetime | None
    last: Cursor
    """Its last event: nothing behind it is brought."""
    rate: int
    """Events a second."""

    @property
    def at_once(self) -> int:
        """The most events in one go."""
        return self.rate * REPLAY_AT_ONCE_SECONDS


class Lease(NamedTuple):
    """A subscriber, or a replay of one, that is ours to deliver to, with all that takes."""

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
    replay: Replay | None = None
    """None: it is the subscriber's main cursor."""
    again: bool = False
    """Whether somebody said that something refused is to be delivered again."""
