"""Where events go, a module a kind of sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.feed.sinks.base import Sink


def open_sink(kind: str, settings: Mapping[str, Any], *, subscriber: str) -> Sink:
    """Open a sink."""
    raise NotImplementedError(kind, settings, subscriber)


def check_settings(kind: str, settings: Mapping[str, Any]) -> None:
    """Raise SettingError with a sentence."""
    raise NotImplementedError(kind, settings)
