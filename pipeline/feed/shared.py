"""What the subscribers of one process share: what events are about, calls as they tell them, and bodies in a shape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.feed.kept import KEPT_SECONDS, Kept
from pipeline.lookup.history import histories_of
from pipeline.lookup.told import as_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from pipeline.feed.reading import About
    from pipeline.feed.rules.event import Event

KEPT_CALLS: Final = 2_000
"""Some ten megabytes; four parts of the feed."""

KEPT_BYTES: Final = 8 * 2**20
"""Of what events are about, and as much of bodies."""

_BESIDE_BYTES: Final = 1_000
"""What an event comes to beside its bytes."""


class OfEvent(NamedTuple):
    """A call, and the event that tells it."""

    position: int
    call_id: int


class OfSpan(NamedTuple):
    """Some records of one row of the feed, with their bytes or without."""

    position: int
    first: int
    last: int
    with_raw: bool


class OfShape(NamedTuple):
    """An event in a shape, with all of a call or some of it."""

    position: int
    place: int
    shape: str
    fields: tuple[str, ...] | None


class Shared:
    """What a process has looked up and made last, for all its threads.

    Args:
        calls: how many calls are kept.
        size: how many bytes of what events are about are kept, and of bodies.
        seconds: for how long.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        calls: int = KEPT_CALLS,
        size: int = KEPT_BYTES,
        seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.abouts = Kept[OfSpan, "list[About]"](most=size, weigh=_weight_of_span, seconds=seconds, clock=clock)
        self.events = Kept[OfShape, "Event"](most=size, weigh=_weight_of_body, seconds=seconds, clock=clock)
        self._calls = Kept[OfEvent, "dict[str, Any]"](most=calls, seconds=seconds, clock=clock)

    def calls(self, connection: Connection, wanted: Sequence[OfEvent]) -> dict[OfEvent, dict[str, Any]]:
        """Each of these calls as ``explain --json`` has it; one that is not there is left out.

        Nobody may change what comes: others are told the same.
        """

        def find(missing: Sequence[OfEvent]) -> dict[OfEvent, dict[str, Any]]:
            histories = histories_of(connection, sorted({each.call_id for each in missing}))
            calls = {call_id: as_dict(history) for call_id, history in histories.items()}
            return {each: calls[each.call_id] for each in missing if each.call_id in calls}

        return self._calls.look_up(wanted, find)


def _weight_of_span(abouts: Sequence[About]) -> int:
    return sum(len(each.raw) + _BESIDE_BYTES for each in abouts) + _BESIDE_BYTES


def _weight_of_body(event: Event) -> int:
    return len(event.body) + _BESIDE_BYTES


def nothing_kept() -> Shared:
    """For whoever must know what stands now."""
    return Shared(calls=0, size=0)
