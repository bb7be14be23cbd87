"""The dialler's own counters of calls, on the Redis that holds its list, and signs of who else takes from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.dialler.rules.counters import Counters, counters_in

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTERS_KEY: Final = "stats:campaign:{}:call_stats:counters"

_NEVER_OURS: Final = ("rpop", "blpop", "brpop", "lmpop", "blmpop", "brpoplpush", "blmove")
"""Commands that take from a list and that this pipeline never uses."""

_READ_AT_ONCE: Final = 200


class DiallerCounters:
    """What the dialler counts, read without touching anything.

    Args:
        url: the dialler's Redis.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
            client_name="cdr-completeness",
        )

    def read(self, campaigns: Iterable[str]) -> dict[str, Counters]:
        """The counters of each campaign; one HGETALL each.

        Raises:
            redis.RedisError: the server is away, or allows none of it.
        """
        names = list(campaigns)
        found: dict[str, Counters] = {}
        for at in range(0, len(names), _READ_AT_ONCE):
            some = names[at : at + _READ_AT_ONCE]
            with self._redis.pipeline(transaction=False) as asked:
                for name in some:
                    asked.hgetall(COUNTERS_KEY.format(name))
                answers = asked.execute(raise_on_error=False)
            found.update((name, _counters(answer)) for name, answer in zip(some, answers, strict=True))
        return found

    def pops(self, *, lmove: bool) -> int | None:
        """How often anybody has used a command that takes from lists and is not ours; None where that is not told.

        Args:
            lmove: whether this pipeline claims by LMOVE. Its scripts then use LPOP and RPOPLPUSH only in pairs.
        """
        try:
            stats = self._redis.info("commandstats")
        except redis.ResponseError:
            return None

        def calls(name: str) -> int:
            return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))

        unpaired = abs(calls("lpop") - calls("rpoplpush")) if lmove else 0
        return sum(map(calls, _NEVER_OURS)) + unpaired

    def poppers(self) -> list[str]:
        """Connections whose last command took from a list, where the server tells."""
        try:
            clients = self._redis.client_list()
        except redis.ResponseError:
            return []
        taking = {*_NEVER_OURS, "lpop"}
        return sorted(
            f"{each.get('addr', '?')} {each.get('name', '')}".strip() for each in clients if each.get("cmd") in taking
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


def _counters(answer: Any) -> Counters:
    if isinstance(answer, redis.ResponseError):
        return Counters("refused", None, str(answer))
    if isinstance(answer, Exception):
        raise answer
    return counters_in(answer)
