"""Where events go, a module a kind of sink."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from pipeline.feed.sinks.base import Ours, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.feed.sinks.base import Sink

KINDS: Final = {
    "redis-list": ("redis_list", "RedisList"),
    "redis-stream": ("redis_stream", "RedisStream"),
    "webhook": ("webhook", "Webhook"),
    "amqp": ("amqp", "Amqp"),
}
"""Each kind of sink: its module, in which `check` looks at settings, and the class there.

A module is imported when its kind is asked for: their libraries are half a second that no other command has to wait.
"""

_ON_REDIS: Final = {"redis-list": "list", "redis-stream": "stream"}
"""The kinds that write to a Redis, and what the place there is called."""


def open_sink(kind: str, settings: Mapping[str, Any], *, subscriber: str, ours: Ours = Ours()) -> Sink:  # noqa: B008
    """Open a sink; what it connects to may be away until it is first asked.

    Args:
        kind: one of ``KINDS``.
        settings: its own, secrets included.
        subscriber: names what the sink keeps for whoever subscribed.
        ours: what it must know of the pipeline.

    Raises:
        SettingError: of the kind or the settings, with a sentence.
    """
    check_settings(kind, settings, ours)
    sink: Sink = getattr(_module(kind), KINDS[kind][1])(settings, subscriber=subscriber, ours=ours)
    return sink


def check_settings(kind: str, settings: Mapping[str, Any], ours: Ours = Ours()) -> None:  # noqa: B008
    """Whether a sink can be opened with these; nobody is asked.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    if kind not in KINDS:
        raise SettingError(f"there is no sink {kind!r}: there is {', '.join(KINDS)}")
    _module(kind).check(settings, ours)


def check_apart(kind: str, settings: Mapping[str, Any], ours: Ours) -> None:
    """Whether a sink is another place than the pipeline reads from, by what the servers say.

    Args:
        kind: one of ``KINDS``.
        settings: that were checked.
        ours: what it must know of the pipeline.

    Raises:
        SettingError: it is the same, or cannot be told from it.
    """
    if kind in _ON_REDIS:
        importlib.import_module("pipeline.feed.sinks.redis_place").check_server(settings, _ON_REDIS[kind], ours)


def settings_of_replay(kind: str, settings: Mapping[str, Any], replay_id: int) -> Mapping[str, Any]:
    """A sink's settings for a replay: where events that it had before would be refused, they go to another place.

    Args:
        kind: one of ``KINDS``, or another that takes a repeat.
        settings: the subscriber's.
        replay_id: names the place.
    """
    if kind != "redis-stream":
        return settings
    replayed: Mapping[str, Any] = _module(kind).of_replay(settings, replay_id)
    return replayed


def place_of_replay(kind: str, settings: Mapping[str, Any], replay_id: int) -> str | None:
    """Where a replay goes, if it is another place than the subscriber's: a name for people."""
    replayed = settings_of_replay(kind, settings, replay_id)
    return None if replayed == settings else f"{_ON_REDIS[kind]} {replayed[_ON_REDIS[kind]]}"


def _module(kind: str) -> Any:
    return importlib.import_module(f"pipeline.feed.sinks.{KINDS[kind][0]}")
