"""What a sink is, and how it says that it takes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.errors import AwayError, PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.feed.rules.event import Event


class SettingError(PipelineError):
    """A setting of a sink is missing, or cannot be what it is set to."""


class Refusal(NamedTuple):
    """An event that the other side would not have."""

    event: Event
    reason: str
    answer: str = ""
    """What it said, cut off, secrets masked."""


class SinkAwayError(AwayError):
    """Nobody took anything: try again later."""

    retry_after_seconds: float | None = None
    disabled: bool = False


class FullError(SinkAwayError):
    """The list is at its high-water length: it goes on when it was read."""


class RefusedError(PipelineError):
    """The other side refuses these events: the feed halves the batch until it is found."""


class Sink(Protocol):
    """Somewhere events go."""

    most_events: int
    """The most of one ``deliver``."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Hand over all of them, in order, or raise."""

    def delivered(self) -> tuple[int, int] | None:
        """The last (position, place) that this sink itself knows it has taken; None: it keeps no cursor."""

    def close(self) -> None:
        """Give up its connections."""
