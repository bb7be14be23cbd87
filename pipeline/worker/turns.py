"""Work that is asked for more often than it is worth doing."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turns:
    """Turns at something in this process: one at a time, some time apart, and at most one that waits for its own.

    One that waits will see all that was committed before it began. So what is asked for meanwhile is done by it, and
    may be forgotten.

    Args:
        seconds_apart: from the beginning of one to that of the next, at least; the first begins at once.
    """

    def __init__(self, seconds_apart: float) -> None:
        self._apart = seconds_apart
        self._waits, self._runs = threading.Lock(), threading.Lock()
        self._began = -seconds_apart

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Wait for a turn and take it; False: another one waits already, and there is nothing to do."""
        if not self._waits.acquire(blocking=False):
            yield False
            return
        try:
            self._runs.acquire()
            try:
                time.sleep(max(0.0, self._began + self._apart - time.monotonic()))
                self._began = time.monotonic()
            except BaseException:
                self._runs.release()
                raise
        finally:
            self._waits.release()
        try:
            yield True
        finally:
            self._runs.release()
