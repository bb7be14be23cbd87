"""Elements pushed to a list on any Redis, byte for byte: whoever reads the dialler's list reads this one unchanged.

The cursor is written in the same script as the elements, on the same server, so that a crash repeats nothing. It never
trims: at its high-water length it waits until somebody has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import redis

from pipeline.feed.sinks.base import FullError, SettingError, SinkAwayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.feed.rules.event import Event

KNOWN: Final = {"url", "list", "end", "high_water"}
HIGH_WATER: Final = 100_000
"""The length at which nothing more is pushed, where the settings say no other."""

# What somebody else has pushed since the cursor was read is left out by whoever asked: `expected` must be in force.
_PUSH: Final = """
local known = redis.call('GET', KEYS[2]) or ''
if known ~= ARGV[2] then return {'moved', known} end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'full', known} end
for at = 5, #ARGV, 1000 do
    redis.call(ARGV[1], KEYS[1], unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
redis.call('SET', KEYS[2], ARGV[3])
return {'done', ARGV[3]}
"""


def check(settings: Mapping[str, Any]) -> None:
    """Whether these settings can be.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    if strange := sorted(set(settings) - KNOWN):
        raise SettingError(f"redis-list has no setting {strange[0]}: it has {', '.join(sorted(KNOWN))}")
    if urlsplit(str(settings.get("url", ""))).scheme not in {"redis", "rediss"}:
        raise SettingError("url must be a URL such as redis://host:6379/0 or rediss://host:6380/0")
    if not isinstance(settings.get("list"), str) or not settings["list"]:
        raise SettingError("list must be the name of the list that is pushed to")
    if settings.get("end", "right") not in {"left", "right"}:
        raise SettingError("end must be left or right: the end that is pushed to, the reader's other one")
    most = settings.get("high_water", HIGH_WATER)
    if not isinstance(most, int) or most < 1:
        raise SettingError("high_water must be a whole number from 1: the length at which nothing more is pushed")


class RedisList:
    """A list as a sink.

    Args:
        settings: ``url``, ``list``, ``end`` (``right``, as the dialler pushes) and ``high_water``.
        subscriber: names the cursor.
    """

    most_events = 1_000

    def __init__(self, settings: Mapping[str, Any], *, subscriber: str) -> None:
        check(settings)
        self._client: redis.Redis = redis.Redis.from_url(
            settings["url"], socket_timeout=15, socket_connect_timeout=5, health_check_interval=10
        )
        self._push = self._client.register_script(_PUSH)
        self._list = settings["list"]
        self._command = "LPUSH" if settings.get("end") == "left" else "RPUSH"
        self._most = settings.get("high_water", HIGH_WATER)
        # In a cluster both keys are where the list is.
        self._cursor = f"{{{self._list}}}:feed:{subscriber}"
        self._known: bytes | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        """Push those that were not pushed before."""
        waiting = list(events)
        try:
            if self._known is None:
                self._known = self._ask()
            while waiting := [event for event in waiting if (event.position, event.place) > _read(self._known)]:
                last = f"{waiting[-1].position} {waiting[-1].place}"
                bodies = [event.body for event in waiting]
                said, known = self._push(
                    keys=[self._list, self._cursor], args=[self._command, self._known, last, self._most, *bodies]
                )
                self._known = bytes(known)
                if said == b"full":
                    raise FullError(f"list {self._list} has {self._most} elements or more, and waits to be read")
        except (redis.RedisError, OSError) as error:
            self._known = None
            raise SinkAwayError(f"list {self._list} cannot be pushed to: {error}") from error

    def delivered(self) -> tuple[int, int] | None:
        """The last that was pushed, by the server that has it."""
        try:
            self._known = self._ask()
        except (redis.RedisError, OSError) as error:
            raise SinkAwayError(f"list {self._list} cannot be asked: {error}") from error
        return _read(self._known) if self._known else None

    def _ask(self) -> bytes:
        known: Any = self._client.get(self._cursor)
        return known or b""

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


def _read(known: bytes) -> tuple[int, int]:
    position, _, place = known.decode().partition(" ")
    return (int(position), int(place)) if known else (-1, -1)
