"""What was just found out, kept for a moment: many subscribers get the same events at about the same time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

KEPT_SECONDS: Final = 5.0
"""No longer, for what is known of a call changes; another event tells of that, and has its own entry."""

_FINDERS: Final = 16
"""How many may be looking for different things at once."""


class Kept(Generic[K, V]):
    """What a process has looked up last, for all its threads; of those that want the same at once one looks for it.

    Args:
        most: how much is kept, as it is weighed.
        weigh: what one entry weighs.
        seconds: for how long.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        most: int,
        weigh: Callable[[V], int] = lambda _: 1,
        seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._weigh, self._seconds, self._clock = most, weigh, seconds, clock
        self._kept: OrderedDict[K, tuple[float, int, V]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()
        self._finding = [threading.Lock() for _ in range(_FINDERS)]

    def look_up(self, wanted: Sequence[K], find: Callable[[Sequence[K]], Mapping[K, V]]) -> dict[K, V]:
        """Each of these; nobody may change what comes, for others get the same.

        Args:
            wanted: what is wanted, once each.
            find: looks for what is not kept; what it does not find is left out.
        """
        found = self._known(wanted)
        missing = [each for each in wanted if each not in found]
        if missing:
            with self._finding[hash(missing[0]) % _FINDERS]:
                found |= self._known(missing)
                if missing := [each for each in missing if each not in found]:
                    fresh = find(missing)
                    self._keep(fresh)
                    found |= fresh
        return found

    def _known(self, wanted: Sequence[K]) -> dict[K, V]:
        since = self._clock() - self._seconds
        with self._lock:
            while self._kept and next(iter(self._kept.values()))[0] < since:
                self._drop()
            return {each: self._kept[each][2] for each in wanted if each in self._kept}

    def _keep(self, fresh: Mapping[K, V]) -> None:
        if not self._most:
            return
        now = self._clock()
        with self._lock:
            for each, value in fresh.items():
                if each in self._kept:
                    continue
                weight = self._weigh(value)
                self._kept[each] = now, weight, value
                self._weight += weight
            while self._weight > self._most:
                self._drop()

    def _drop(self) -> None:
        _, (_, weight, _) = self._kept.popitem(last=False)
        self._weight -= weight
