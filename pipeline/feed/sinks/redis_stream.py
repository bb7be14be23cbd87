"""Entries of a stream on any Redis, each with the feed's own position as its id.

What it guarantees: every event once, in order, as long as that Redis keeps what it was given. An entry's id is
``<position>-<place>``, and Redis takes no id that is not above the last, so a repeat is refused by Redis itself. That
holds for one writer alone: whose the stream is stands beside it, and no other subscriber's events are added. Nothing is
trimmed: at its high-water length the sink waits until whoever read has trimmed (``XTRIM``, ``XDEL``, ``XACKDEL``).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
import redis

from pipeline.feed.sinks.base import FORGET_SECONDS, FullError, SettingError, SinkAwayError
from pipeline.feed.sinks.redis_place import beside, check_place, connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import Ours

KNOWN: Final = {"url", "stream", "high_water"}
HIGH_WATER: Final = 1_000_000
"""The length at which nothing more is added, where the settings say no other."""

TEST_SECONDS: Final = 3_600
"""How long an event that has no position is kept, beside the stream: an id of its own would be above those to come."""

# One step: had an id failed and a later one not, it would be refused as a repeat for ever. A stream that held entries
# before it was anybody's holds somebody else's. An entry's texts come as one argument, and its bytes as
# another: each by itself, nine pairs an entry, cost more to send than what is in them cost to find out.
_ADD: Final = """
local owner = redis.call('GET', KEYS[2])
if not owner then
    if redis.call('EXISTS', KEYS[1]) == 1 then
        local facts = redis.call('XINFO', 'STREAM', KEYS[1])
        for at = 1, #facts, 2 do
            if facts[at] == 'last-generated-id' and facts[at + 1] ~= '0-0' then return {'foreign', 'somebody else'} end
        end
    end
    redis.call('SET', KEYS[2], ARGV[1])
elseif owner ~= ARGV[1] then
    return {'foreign', owner}
end
local room = tonumber(ARGV[2]) - redis.call('XLEN', KEYS[1])
for nth, entry in ipairs(cmsgpack.unpack(ARGV[3])) do
    if room < 1 then return {'full', ''} end
    table.insert(entry, ARGV[3 + nth])
    local said = redis.pcall('XADD', KEYS[1], unpack(entry))
    if type(said) == 'table' and said.err then
        if not string.find(said.err, 'equal or smaller', 1, true) then return said end
    else
        room = room - 1
    end
end
return {'done', ''}
"""


def check(settings: Mapping[str, Any], ours: Ours) -> None:
    """Whether these settings can be.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    if strange := sorted(set(settings) - KNOWN):
        raise SettingError(f"redis-stream has no setting {strange[0]}: it has {', '.join(sorted(KNOWN))}")
    check_place(settings, "stream", ours)
    most = settings.get("high_water", HIGH_WATER)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise SettingError("high_water must be a whole number from 1: the length at which nothing more is added")


def of_replay(settings: Mapping[str, Any], replay_id: int) -> dict[str, Any]:
    """The settings for a replay: a stream of its own, for the subscriber's takes no id that it had.

    >>> of_replay({"stream": "crm"}, 7)
    {'stream': '{crm}:feed:replay:7'}
    """
    return {**settings, "stream": beside(settings["stream"], f"feed:replay:{replay_id}")}


class RedisStream:
    """A stream as a sink.

    Args:
        settings: ``url``, ``stream`` and ``high_water``; checked.
        subscriber: whose the stream is.
        ours: not needed.
    """

    most_events = 500

    def __init__(self, settings: Mapping[str, Any], *, subscriber: str, ours: Ours) -> None:
        del ours
        self._client = connect(settings["url"])
        self._add = self._client.register_script(_ADD)
        self._stream = settings["stream"]
        self._most = settings.get("high_water", HIGH_WATER)
        self._subscriber = subscriber
        self._owner = beside(self._stream, "feed")

    def deliver(self, events: Sequence[Event]) -> None:
        """Add those that are not there.

        Raises:
            FullError: not all of them had room; those that had are there.
            SinkAwayError: the server did not do it, or the stream is another subscriber's.
        """
        placed = [each for each in events if each.position]
        try:
            if placed:
                self._add_to_stream(placed)
            for event in events:
                if not event.position:
                    self._try(event)
        except (redis.RedisError, OSError) as error:
            raise SinkAwayError(f"stream {self._stream} cannot be added to: {error}") from error

    def _add_to_stream(self, events: Sequence[Event]) -> None:
        entries = [
            [f"{each.position}-{each.place}", *itertools.chain(*_texts(each).items()), "body"] for each in events
        ]
        said, who = self._add(
            keys=[self._stream, self._owner],
            args=[self._subscriber, self._most, msgspec.msgpack.encode(entries), *(each.body for each in events)],
        )
        if said == b"full":
            raise FullError(
                f"stream {self._stream} has {self._most} entries, and waits for whoever reads it to trim what was read"
            )
        if said == b"foreign":
            raise SinkAwayError(
                f"stream {self._stream} belongs to {bytes(who).decode(errors='replace')}, and ids of two would hide "
                f"each other: choose another stream or, where that one is gone, delete {self._stream} and {self._owner}"
            )

    def _try(self, event: Event) -> None:
        """Show that the server takes what has no position, without touching the stream."""
        key = beside(self._stream, "feed:test")
        kind = self._client.type(self._stream)
        if kind not in {b"stream", b"none"}:
            raise SinkAwayError(f"{self._stream} is no stream")
        with self._client.pipeline() as pipe:
            pipe.xadd(key, {**_texts(event), "body": event.body}, maxlen=1, approximate=False)
            pipe.expire(key, TEST_SECONDS)
            pipe.execute()

    def delivered(self) -> tuple[int, int] | None:
        """The last id that the stream was given, by the server that has it, trimmed since or not."""
        try:
            if self._client.get(self._owner) != self._subscriber.encode() or not self._client.exists(self._stream):
                return None
            said: Any = self._client.xinfo_stream(self._stream)
        except (redis.RedisError, OSError) as error:
            raise SinkAwayError(f"stream {self._stream} cannot be asked: {error}") from error
        position, _, place = said["last-generated-id"].decode().partition("-")
        return int(position), int(place)

    def forget(self) -> None:
        """Have the server remove by and by whose the stream is; the stream is its reader's."""
        try:
            self._client.expire(self._owner, FORGET_SECONDS)
        except (redis.RedisError, OSError) as error:
            raise SinkAwayError(f"stream {self._stream} cannot be reached: {error}") from error

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()


def _texts(event: Event) -> dict[Any, Any]:
    """What an entry says beside its body; a campaign that nobody can read is empty."""
    return {
        "id": str(event.event_id),
        "kind": event.kind,
        "source": event.source,
        "call_ref": event.call_ref,
        "campaign": event.campaign or "",
        "at": event.at.isoformat(),
        "content_type": event.content_type,
    }
