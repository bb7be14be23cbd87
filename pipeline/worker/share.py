"""A share of the processors for this process, while somebody else is to have the rest."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS: Final = 0.25
"""How long what somebody else wants is remembered: so late it is known that he does, or does no more."""


class Share:
    """Threads rest between two parts of their work, so that this process works no more than its share.

    Niceness shares among the processes of one machine and one container, and says nothing of what others, such as the
    database, do for this one.

    Args:
        of_machine: the share of all processors, above 0.
        is_wanted: whether somebody else is to have the rest; else nobody rests.
        processors: that there are; those that this process may use, where none are given.
        clock: monotonic, in seconds.
        worked: processor time of this process, in seconds.
        sleep: as ``time.sleep``.
    """

    def __init__(
        self,
        of_machine: float,
        is_wanted: Callable[[], bool],
        *,
        processors: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share = of_machine * (processors or len(os.sched_getaffinity(0)))
        self._is_wanted, self._clock, self._worked, self._sleep = is_wanted, clock, worked, sleep
        self._lock = threading.Lock()
        self._wanted, self._looked_at, self._rested_at, self._before = False, -LOOK_SECONDS, 0.0, worked()

    def rest(self, *, until: float) -> None:
        """Rest for all that was worked, whoever did; those that rest at the same time go on at the same time.

        Args:
            until: no longer, by the clock; what is left is rested the next time.
        """
        with self._lock:
            worked = self._worked()
            self._rested_at = max(self._rested_at, self._clock()) + (worked - self._before) / self._share
            self._before = worked
        while (wait := min(self._left(), until - self._clock())) > 0:
            self._sleep(min(wait, LOOK_SECONDS))

    def _left(self) -> float:
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= LOOK_SECONDS:
                self._wanted, self._looked_at = self._is_wanted(), now
            if not self._wanted:
                self._rested_at = now
            return self._rested_at - now
