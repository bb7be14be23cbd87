"""Looks at a Redis server for whoever checks it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.dialler.cdr_list_scripts import TRY_CLAIMING, TRY_KEEPING
from pipeline.doctor.rules.outside import Clock
from pipeline.doctor.rules.redis_server import RedisFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_SECONDS: Final = 4.0
KEYS_LOOKED_AT: Final = 1_000


@contextlib.contextmanager
def connected(url: str) -> Iterator[redis.Redis]:
    """A client that neither waits long nor tries twice."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        client_name="cdr-doctor",
    )
    try:
        yield client
    finally:
        client.close()


def look_at_redis(
    client: redis.Redis, *, trial_key: str, own_prefix: str | None = None, claims: bool = False
) -> RedisFacts:
    """What a Redis says of itself, and whether it lets us run a script and write.

    Args:
        client: see ``connected``.
        trial_key: a key that may be written for a second, and so may those that begin with it.
        own_prefix: our keys begin with this, and others' presence is to be told; None where we are the guest.
        claims: whether claims are made here; each command that takes is tried then.
    """
    info = client.info()
    version = [int(part) for part in str(info["redis_version"]).split(".")[:3]]
    return RedisFacts(
        version=(version[0], version[1], version[2]),
        run_id=str(info.get("run_id", "")),
        role=str(info.get("role", "master")),
        policy=info.get("maxmemory_policy"),
        maxmemory=int(info.get("maxmemory", 0)),
        used=int(info.get("used_memory", 0)),
        aof=bool(info["aof_enabled"]) if "aof_enabled" in info else None,
        snapshots=_takes_snapshots(client),
        last_write_failed="err" in (info.get("rdb_last_bgsave_status"), info.get("aof_last_write_status")),
        refusal=_refusal(client, TRY_CLAIMING if claims else WRITE, trial_key),
        lacks=tuple(_lacks(client, trial_key)) if claims else (),
        valkey=str(info["valkey_version"]) if "valkey_version" in info else None,
        strangers=() if own_prefix is None else tuple(_strangers(client, info, own_prefix)),
    )


def _takes_snapshots(client: redis.Redis) -> bool | None:
    try:
        return bool(cast("dict[str, str]", client.config_get("save")).get("save"))
    except redis.ResponseError:  # CONFIG is often refused to guests, and in rented servers
        return None


WRITE: Final = "redis.call('SET', KEYS[1], '1', 'PX', '1000')"


def _refusal(client: redis.Redis, script: str, key: str) -> str | None:
    """What a script was refused, in whichever way it says so."""
    try:
        answer = cast("bytes | None", client.eval(script, 2, key, f"{key}:2"))
    except redis.ResponseError as error:
        return str(error)
    return None if answer is None else answer.decode(errors="replace")


def _lacks(client: redis.Redis, key: str) -> Iterator[str]:
    if _refusal(client, TRY_KEEPING, key):
        yield "RENAME"
    try:
        client.scan(count=1)
    except redis.ResponseError:
        yield "SCAN"


def _strangers(client: redis.Redis, info: dict[str, Any], own_prefix: str) -> Iterator[str]:
    ours = client.connection_pool.connection_kwargs.get("db", 0)
    for name, counts in info.items():
        if name.startswith("db") and name[2:].isdecimal() and int(name[2:]) != ours:
            yield f"{counts['keys']} keys in database {name[2:]}"
    _, keys = cast("tuple[int, list[bytes]]", client.scan(count=KEYS_LOOKED_AT))
    foreign = sorted(key.decode(errors="replace") for key in keys if not key.startswith(own_prefix.encode()))
    if foreign:
        yield f"keys that are not ours, such as {foreign[0][:60]!r}"


def read_clock(client: redis.Redis, name: str) -> Clock:
    """How far the server's clock is ahead of ours."""
    before = time.time()
    seconds, micros = client.time()
    after = time.time()
    return Clock(name, seconds + micros / 1e6 - (before + after) / 2, (after - before) / 2)
