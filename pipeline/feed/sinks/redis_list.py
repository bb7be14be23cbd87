"""Elements pushed to a list on any Redis, byte for byte: whoever reads the dialler's list reads this one unchanged.

What it guarantees: every event once, in order, as long as that Redis keeps what it was given. The cursor is written in
the same script as the elements, on the same server, so that a crash repeats nothing, and of two that push at once each
element is pushed by one. It never trims: a list at its high-water length waits until somebody has read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from pipeline.feed.sinks.base import FORGET_SECONDS, FullError, SettingError, SinkAwayError
from pipeline.feed.sinks.redis_place import beside, check_place, connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import Ours

KNOWN: Final = {"url", "list", "end", "high_water"}
HIGH_WATER: Final = 100_000
"""The length at which nothing more is pushed, where the settings say no other."""

# What somebody else has pushed since the cursor was read is left out by whoever asked: what it knows must be in force.
_PUSH: Final = """
local known = redis.call('GET', KEYS[2]) or ''
if known ~= ARGV[2] then return {'moved', known} end
local room = math.max(tonumber(ARGV[4]) - redis.call('LLEN', KEYS[1]), 0)
if room < #ARGV - 4 then return {'full', tostring(room)} end
for at = 5, #ARGV, 1000 do
    redis.call(ARGV[1], KEYS[1], unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
redis.call('SET', KEYS[2], ARGV[3])
return {'done', ARGV[3]}
"""


def check(settings: Mapping[str, Any], ours: Ours) -> None:
    """Whether these settings can be.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    if strange := sorted(set(settings) - KNOWN):
        raise SettingError(f"redis-list has no setting {strange[0]}: it has {', '.join(sorted(KNOWN))}")
    check_place(settings, "list", ours)
    if settings.get("end", "right") not in {"left", "right"}:
        raise SettingError("end must be left or right: the end that is pushed to, the reader's other one")
    most = settings.get("high_water", HIGH_WATER)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise SettingError("high_water must be a whole number from 1: the length at which nothing more is pushed")


class RedisList:
    """A list as a sink.

    Args:
        settings: ``url``, ``list``, ``end`` (``right``, as the dialler pushes) and ``high_water``; checked.
        subscriber: names the cursor.
        ours: not needed.
    """

    most_events = 1_000

    def __init__(self, settings: Mapping[str, Any], *, subscriber: str, ours: Ours) -> None:
        del ours
        self._client = connect(settings["url"])
        self._push = self._client.register_script(_PUSH)
        self._list = settings["list"]
        self._command = "LPUSH" if settings.get("end") == "left" else "RPUSH"
        self._most = settings.get("high_water", HIGH_WATER)
        self._cursor = beside(self._list, f"feed:{subscriber}")
        self._known: bytes | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        """Push those that were not pushed before.

        Raises:
            FullError: not all of them had room; those that had are pushed.
            SinkAwayError: the server did not do it, or did not say so.
        """
        waiting, room = list(events), None
        try:
            if self._known is None:
                self._known = self._ask()
            while waiting := [event for event in waiting if (event.position, event.place) > self._read(self._known)]:
                part = waiting[:room]
                last = f"{part[-1].position} {part[-1].place}"
                said, answer = self._push(
                    keys=[self._list, self._cursor],
                    args=[self._command, self._known, last, self._most, *(event.body for event in part)],
                )
                if said != b"full":
                    self._known, room = bytes(answer), None
                elif not (room := int(answer)):
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
        return self._read(self._known) if self._known else None

    def _ask(self) -> bytes:
        known: Any = self._client.get(self._cursor)
        return known or b""

    def forget(self) -> None:
        """Have the server remove the cursor by and by."""
        try:
            self._client.expire(self._cursor, FORGET_SECONDS)
        except (redis.RedisError, OSError) as error:
            raise SinkAwayError(f"list {self._list} cannot be reached: {error}") from error

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()

    def _read(self, known: bytes) -> tuple[int, int]:
        try:
            position, place = known.split() if known else (-1, -1)
            return int(position), int(place)
        except ValueError:
            raise SinkAwayError(
                f"key {self._cursor}, beside list {self._list}, is not what was written there: "
                "without it nobody knows what was pushed"
            ) from None
