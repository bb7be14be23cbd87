"""What Flower is told of workers and tasks: whoever may write to the broker may tell it anything.

Flower keeps what an event says as attributes of a worker or a task, whatever their names and types, and its pages fail
on what they cannot add up or format, for as long as it keeps it. So it is told only what Celery's workers say.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from celery.events import EventReceiver
from flower import events as flowers_events

from pipeline.logs.rules.visible import visible_lines
from pipeline.logs.setup import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.transport.base import Message

log = get_logger(__name__)

LONGEST_NAME: Final = 255
LONGEST_TEXT: Final = 10_000
"""How much of the arguments, the result or the traceback of a task is kept, in characters."""

HIGHEST_COUNT: Final = 2**53
LATEST: Final = 4_102_444_800
"""The year 2100, in seconds; later there is no date to show in some places."""

LONGEST_FREQUENCY_SECONDS: Final = 86_400

MOST_NAMES: Final = 1_000
"""How many workers, and how many tasks by name, are told apart: Flower counts for each, and forgets nobody."""

FORGOTTEN_AFTER_SECONDS: Final = 3_600.0
"""A name that was not heard for so long may give its place to another."""

TOLD_EVERY_SECONDS: Final = 60.0


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= HIGHEST_COUNT


def _is_instant(value: Any) -> bool:
    return _is_number(value) and bool(value <= LATEST)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_load(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 3 and all(_is_number(each) for each in value)


def _is_offset(value: Any) -> bool:
    return isinstance(value, int | float) and -24 <= value <= 24


_Checks = dict[str, "Callable[[Any], bool]"]

_ALL: Final[_Checks] = {
    **dict.fromkeys(("hostname", "type"), _is_name),
    "timestamp": _is_instant,
    "pid": _is_count,
    "utcoffset": _is_offset,
}
_WORKER: Final[_Checks] = {
    "freq": lambda value: _is_number(value) and value <= LONGEST_FREQUENCY_SECONDS,
    **dict.fromkeys(("active", "processed"), _is_count),
    **dict.fromkeys(("sw_ident", "sw_ver", "sw_sys"), _is_name),
    "loadavg": _is_load,
}
_TASK: Final[_Checks] = {
    "uuid": _is_name,
    "name": _is_name,
    **dict.fromkeys(("args", "kwargs", "result", "exception", "traceback"), _is_text),
    **dict.fromkeys(("eta", "expires", "root_id", "parent_id", "queue", "exchange", "routing_key"), _is_text),
    "retries": _is_count,
    "runtime": _is_number,
    **dict.fromkeys(("received", "started"), _is_instant),
}
_REQUIRED: Final = ("type", "hostname", "timestamp")

KINDS: Final[dict[str, _Checks]] = {
    **{f"worker-{kind}": _ALL | _WORKER for kind in ("online", "heartbeat", "offline")},
    **{
        f"task-{kind}": _ALL | _TASK
        for kind in ("sent", "received", "started", "succeeded", "failed", "rejected", "revoked", "retried")
    },
}
"""The events that Flower is told, and what may be in each. Not the logical clock: whoever sets it sets everybody's."""


def well_formed(event: Any) -> dict[str, Any] | None:
    """What is known of an event, its texts visible and bounded; None when it is none, or when something in it is wrong.

    >>> heartbeat = {"type": "worker-heartbeat", "hostname": "worker@a", "timestamp": 1.5, "active": 2, "alive": "yes"}
    >>> well_formed(heartbeat)
    {'hostname': 'worker@a', 'type': 'worker-heartbeat', 'timestamp': 1.5, 'active': 2}
    >>> well_formed(heartbeat | {"active": "two"})
    """
    if not isinstance(event, dict):
        return None
    kind = event.get("type")
    checks = KINDS.get(kind) if isinstance(kind, str) else None
    if checks is None:
        return None
    required = (*_REQUIRED, "uuid") if "uuid" in checks else _REQUIRED
    known = {name: event[name] for name in checks if name in event}
    if not all(name in known for name in required) or not all(checks[name](value) for name, value in known.items()):
        return None
    return {
        name: visible_lines(value[:LONGEST_TEXT]) if isinstance(value, str) else value for name, value in known.items()
    }


class Seen:
    """Names that were heard of, and no more than so many."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def admits(self, name: str, now: float) -> bool:
        """Whether there is room for this name, or it has its place already."""
        if name not in self._last and len(self._last) >= MOST_NAMES:
            self._last = {each: at for each, at in self._last.items() if now - at < FORGOTTEN_AFTER_SECONDS}
        if name not in self._last and len(self._last) >= MOST_NAMES:
            return False
        self._last[name] = now
        return True


class Receiver(EventReceiver):  # type: ignore[misc]
    """Celery's receiver of events, but that it hands on none that is not well formed, and ends for none."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._workers, self._tasks = Seen(), Seen()
        self._refused = 0
        self._told_at = float("-inf")

    def get_consumers(self, Consumer: Any, channel: Any) -> Any:  # noqa: N803 - Celery's
        """Celery's consumer, which would end for a message that cannot be read."""
        consumers = super().get_consumers(Consumer, channel)
        for consumer in consumers:
            consumer.on_decode_error = lambda *_: self._refuse()
        return consumers

    def _receive(self, body: Any, _: Message, *__: Any) -> None:
        for event in body if isinstance(body, list) else [body]:
            known = well_formed(event)
            if known is not None and self._has_room(known):
                self.process(*self.event_from_message(known))
            else:
                self._refuse()

    def _has_room(self, event: dict[str, Any]) -> bool:
        now = time.monotonic()
        return self._workers.admits(event["hostname"], now) and self._tasks.admits(event.get("name", ""), now)

    def _refuse(self) -> None:
        """Count it, and tell of all of them now and then."""
        self._refused += 1
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY_SECONDS:
            log.warning("events_refused", events=self._refused)
            self._refused, self._told_at = 0, now


def install() -> None:
    """Have Flower receive events this way; once or several times, to the same effect."""
    flowers_events.EventReceiver = Receiver
