"""HTTP clients that are kept for a moment: who gets something ten times a second is not connected to ten times.

A connection costs a look-up and two or three ways there and back, of which the last bring its keys.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import httpx

KEPT_SECONDS: Final = 2.0
"""How long nothing may be sent: servers of some makes close after five, and what is sent into that is lost."""

KEPT_AT_MOST: Final = 64


class KeptClients:
    """The clients that nobody uses at the moment; one is used by one at a time.

    Args:
        seconds: how long each is kept.
        most: how many, those excepted that are in use.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, *, seconds: float = KEPT_SECONDS, most: int = KEPT_AT_MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._idle: OrderedDict[Hashable, tuple[float, httpx.Client]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> httpx.Client | None:
        """The client that was kept under this key, for the caller alone; None: there is none any more."""
        self._close_old()
        with self._lock:
            found = self._idle.pop(key, None)
        return None if found is None else found[1]

    def keep(self, key: Hashable, client: httpx.Client) -> None:
        """Keep one with which all is well."""
        with self._lock:
            other = self._idle.pop(key, None)
            self._idle[key] = (self._clock(), client)
        if other is not None:
            other[1].close()
        self._close_old()

    def _close_old(self) -> None:
        since = self._clock() - self._seconds
        old = []
        with self._lock:
            while self._idle and (len(self._idle) > self._most or next(iter(self._idle.values()))[0] < since):
                old.append(self._idle.popitem(last=False)[1][1])
        for client in old:
            client.close()
