"""How often one token may ask."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE_SECONDS: Final = 3.0
"""So many seconds' worth may come at once after a pause."""

REMEMBERED: Final = 10_000


class Rate:
    """A bucket a name, which fills again as time goes by; of this process alone.

    Args:
        per_second: the most requests a second.
        clock: seconds that only go forward.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._size = max(1.0, AT_ONCE_SECONDS * per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, name: str) -> float:
        """0 if somebody may ask now, which is counted; else in how many seconds they may."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(name, (self._size, now))
            left = min(self._size, left + (now - at) * self._per_second)
            allowed = left >= 1.0
            self._left[name] = (left - 1.0 if allowed else left, now)
            while len(self._left) > REMEMBERED:
                del self._left[next(iter(self._left))]
            return 0.0 if allowed else (1.0 - left) / self._per_second
