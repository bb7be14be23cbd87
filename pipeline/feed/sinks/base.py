"""What a sink is, and how it says that it takes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from pipeline.errors import AwayError, PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.feed.rules.event import Event

FORGET_SECONDS: Final = 86_400
"""How long what a sink kept for a replay is there after its end."""


class SettingError(PipelineError):
    """A setting of a sink is missing, or cannot be what it is set to."""


class Ours(NamedTuple):
    """What a sink must know of the pipeline it belongs to; the shells read it off the settings."""

    redis_url: str = ""
    """The dialler's Redis; empty: there is none to keep away from."""
    list: str = ""
    """The dialler's list, which the pipeline drains."""
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts, in lower case, to which webhooks may go wherever they are."""


class SinkAwayError(AwayError):
    """Nobody took anything: try again later.

    Args:
        reason: a sentence.
        retry_after_seconds: what the other side asks us to wait; None: it does not say.
        disabled: nobody will ever take anything there again.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None, disabled: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.disabled = disabled


class FullError(SinkAwayError):
    """The list is at its high-water length: it goes on when it was read."""


class RefusedError(PipelineError):
    """The other side refuses these events: the feed halves the batch until it is found.

    Args:
        reason: a sentence.
        answer: what it said, cut off, secrets masked.
    """

    def __init__(self, reason: str, answer: str = "") -> None:
        super().__init__(reason)
        self.answer = answer


class Sink(Protocol):
    """Somewhere events go."""

    most_events: int
    """The most of one ``deliver``."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Hand over all of them, in order, or raise; what raises `SinkAwayError` may have taken some."""

    def delivered(self) -> tuple[int, int] | None:
        """The last (position, place) that this sink itself knows it has taken; None: it keeps no cursor."""

    def forget(self) -> None:
        """Let go of what it keeps for whoever subscribed, now that nothing more comes: after `FORGET_SECONDS`.

        One that stood still and believes that it may still deliver must find it until then.
        """

    def close(self) -> None:
        """Give up its connections."""
