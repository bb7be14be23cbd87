"""Where events go, a module a kind of sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.feed.sinks import redis_list
from pipeline.feed.sinks.base import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.feed.sinks.base import Sink

KINDS = {"redis-list": (redis_list.RedisList, redis_list.check)}
"""Each kind of sink, and what looks at its settings."""


def open_sink(kind: str, settings: Mapping[str, Any], *, subscriber: str) -> Sink:
    """Open a sink; what it connects to may be away until it is first asked.

    Args:
        kind: one of ``KINDS``.
        settings: its own, secrets included.
        subscriber: names what the sink keeps for whoever subscribed.

    Raises:
        SettingError: of the kind or the settings, with a sentence.
    """
    check_settings(kind, settings)
    return KINDS[kind][0](settings, subscriber=subscriber)


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """Whether a sink can be opened with these.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    if kind not in KINDS:
        raise SettingError(f"there is no sink {kind!r}: there is {', '.join(KINDS)}")
    KINDS[kind][1](settings)
