"""Calls as their events tell them, kept for a moment: many subscribers get the same events at about the same time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.lookup.history import histories_of
from pipeline.lookup.told import as_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

KEPT_CALLS: Final = 2_000
"""Some ten megabytes; four parts of the feed."""

KEPT_SECONDS: Final = 5.0
"""No longer, for what is known of a call changes; another event tells of that, and has its own entry."""


class OfEvent(NamedTuple):
    """A call, and the event that tells it."""

    position: int
    call_id: int


class CallsTold:
    """What a process has looked up last, for all its threads.

    Args:
        most: how many calls are kept.
        seconds: for how long.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, *, most: int = KEPT_CALLS, seconds: float = KEPT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._kept: OrderedDict[OfEvent, tuple[float, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def look_up(self, connection: Connection, wanted: Sequence[OfEvent]) -> dict[OfEvent, dict[str, Any]]:
        """Each of these calls as ``explain --json`` has it; one that is not there is left out.

        Nobody may change what comes: others are told the same.
        """
        found = self._known(wanted)
        missing = sorted({each.call_id for each in wanted if each not in found})
        if missing:
            calls = {call_id: as_dict(history) for call_id, history in histories_of(connection, missing).items()}
            fresh = {each: calls[each.call_id] for each in wanted if each not in found and each.call_id in calls}
            self._keep(fresh)
            found |= fresh
        return found

    def _known(self, wanted: Sequence[OfEvent]) -> dict[OfEvent, dict[str, Any]]:
        since = self._clock() - self._seconds
        with self._lock:
            while self._kept and next(iter(self._kept.values()))[0] < since:
                self._kept.popitem(last=False)
            return {each: self._kept[each][1] for each in wanted if each in self._kept}

    def _keep(self, fresh: dict[OfEvent, dict[str, Any]]) -> None:
        now = self._clock()
        with self._lock:
            self._kept |= {each: (now, told) for each, told in fresh.items()}
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def nothing_kept() -> CallsTold:
    """For whoever must know what stands now."""
    return CallsTold(most=0)
