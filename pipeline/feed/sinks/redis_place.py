"""What the sinks on a Redis have in common: the place they write to, what is kept beside it, whose it may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis

from pipeline.dialler.cdr_list import CdrList
from pipeline.feed.sinks.base import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.feed.sinks.base import Ours


def connect(url: str) -> redis.Redis:
    """A client that gives up after seconds, not minutes; it connects when it is first asked."""
    return redis.Redis.from_url(url, socket_timeout=15, socket_connect_timeout=5, health_check_interval=10)


def beside(key: str, what: str) -> str:
    """The name of a key that a cluster keeps on the node where ``key`` is.

    >>> beside("crm:cdrs", "feed:crm"), beside("{crm}:cdrs", "feed:crm"), beside("odd}", "feed:crm")
    ('{crm:cdrs}:feed:crm', '{crm}:cdrs:feed:crm', 'odd}:feed:crm')
    """
    # A key with braces of its own is where they say, and one with a brace that closes nothing cannot be put in any.
    return f"{key}:{what}" if "}" in key else f"{{{key}}}:{what}"


def check_place(settings: Mapping[str, Any], key: str, ours: Ours) -> None:
    """Whether the settings name a server, and a place there that is not the dialler's.

    Args:
        settings: with ``url``, and the place's name under ``key``.
        key: what the setting with the name is called.
        ours: what it must not be.

    Raises:
        SettingError: naming the setting, and what it must be.
    """
    try:
        parts = urlsplit(str(settings.get("url", "")))
        is_one = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
        is_one = is_one and _database(str(settings["url"])) >= 0
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingError("url must be a URL such as redis://host:6379/0 or rediss://host:6380/0")
    if not isinstance(settings.get(key), str) or not settings[key]:
        raise SettingError(f"{key} must be the name of the {key} that is written to")
    if _is_named_as_ours(settings[key], ours) and _server(settings["url"]) == _server(ours.redis_url):
        raise SettingError(_is_source(key))


def check_server(settings: Mapping[str, Any], key: str, ours: Ours) -> None:
    """Whether the place is another than the dialler's, by what the servers say of themselves.

    Two URLs may lead to one server. Nobody is asked unless the place has the name of something of ours.

    Raises:
        SettingError: it is the dialler's, or cannot be told from it.
    """
    if not _is_named_as_ours(settings[key], ours):
        return
    try:
        same = _identity(settings["url"]) == _identity(ours.redis_url)
    except (redis.RedisError, OSError) as error:
        raise SettingError(
            f"{key} is named as the dialler's own, and whether it is that one cannot be told, "
            f"for a server does not say who it is ({error}): choose another name, or try again later"
        ) from None
    if same:
        raise SettingError(_is_source(key))


def _is_source(key: str) -> str:
    return f"{key} is the dialler's own list, or beside it, which the pipeline drains: choose another"


def _is_named_as_ours(name: str, ours: Ours) -> bool:
    return bool(ours.redis_url) and (name == ours.list or name.startswith(CdrList.prefix_of(ours.list)))


def _server(url: str) -> tuple[str | None, int, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 6379, _database(url)


def _database(url: str) -> int:
    said: Any = redis.Redis.from_url(url).connection_pool.connection_kwargs.get("db")
    return int(said or 0)


def _identity(url: str) -> tuple[str, int]:
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    try:
        said: Any = client.info("server")
        return said["run_id"], _database(url)
    finally:
        client.close()
