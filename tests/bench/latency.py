"""How long a CDR takes from its push to its committed charge, at a steady rate.

One light process pushes; nothing watches while it does. Afterwards PostgreSQL tells when each charge (or the reason
for none) was committed: it runs with ``track_commit_timestamp``, and both clocks are this machine's.
"""

from __future__ import annotations

import random
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import redis

from pipeline.sandbox.dialler import NOTIFICATIONS
from tests.bench.processes import costs, spent
from tests.bench.workload import records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.sandbox.stack import Stack
    from tests.bench.contestants import Bench

SETTINGS = {"track_commit_timestamp": "on"}
FIRST_REF = 10_000_000
RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
WARM_UP_SECONDS = 5.0
GROWING = 2.0
"""The last third of a run this many times as slow as the first third, and 50 ms more: it grows without end."""


class Pushed(NamedTuple):
    """A record and when it was put on the list, in Unix seconds."""

    call_ref: int
    at: float


def push(
    url: str, rate: float, seconds: float, first_call_ref: int, chance: random.Random | None = None
) -> list[Pushed]:
    """Push at a steady rate.

    Args:
        url: the dialler's Redis.
        rate: records a second.
        seconds: for how long.
        first_call_ref: the records'.
        chance: makes the gaps between them, as calls end that know nothing of each other; None: all gaps are the same.
    """
    count = max(1, round(rate * seconds))
    elements = list(records(count, first_call_ref=first_call_ref))
    if chance is None:
        times = [place / rate for place in range(count)]
    else:
        # So many instants by chance are a Poisson process that is known to have had so many in this time.
        times = sorted(chance.uniform(0.0, seconds) for _ in range(count))
    pushed = []
    with redis.Redis.from_url(url) as dialler:
        dialler.ping()
        began = time.time()
        for place, (element, at) in enumerate(zip(elements, times, strict=True)):
            wait = began + at - time.time()
            if wait > 0:
                time.sleep(wait)
            pushed.append(Pushed(first_call_ref + place, time.time()))
            dialler.rpush(NOTIFICATIONS, element)
    return pushed


def charged(database: str, first: int, last: int) -> dict[int, float]:
    """When the charge of each call, or the reason for none, was committed."""
    query = """
        SELECT c.call_ref::bigint, extract(epoch FROM pg_xact_commit_timestamp(b.xmin))::float
        FROM calls AS c JOIN (SELECT call_id, xmin FROM ledger UNION ALL SELECT call_id, xmin FROM uncharged) AS b
          ON b.call_id = c.id
        WHERE c.call_ref::bigint BETWEEN %s AND %s"""
    with psycopg.connect(database, autocommit=True) as connection:
        return dict(connection.execute(query, (first, last)).fetchall())


def batches_since(database: str, at: float) -> list[tuple[int, float]]:
    """The size of each batch received since, and when it was."""
    query = """
        SELECT records, extract(epoch FROM received_at)::float FROM batches
        WHERE received_at >= to_timestamp(%s) ORDER BY received_at"""
    with psycopg.connect(database, autocommit=True) as connection:
        return connection.execute(query, (at,)).fetchall()


def measure(bench: Bench, stack: Stack, rate: float, seconds: float, first_call_ref: int) -> dict[str, Any]:
    """One rate; the pipeline runs already.

    Args:
        bench: the servers.
        stack: the pipeline.
        rate: CDRs a second.
        seconds: how long to measure, after the warm-up.
        first_call_ref: the records', not used before.
    """
    warm = push(bench.servers.dialler_redis.url, rate, WARM_UP_SECONDS, first_call_ref)
    roots = {**{name: process.pid for name, process in stack.processes.items()}, **bench.server_roots}
    before = costs(roots)
    chance = random.Random(str(rate))
    pushed = push(bench.servers.dialler_redis.url, rate, seconds, warm[-1].call_ref + 1, chance)
    cost = spent(before, costs(roots))
    bench.finished(stack)
    commits = charged(bench.database, pushed[0].call_ref, pushed[-1].call_ref)
    waits = [commits[each.call_ref] - each.at for each in pushed]
    received = batches_since(bench.database, pushed[0].at)
    return {
        "rate": rate,
        "records": len(pushed),
        **summary(waits),
        "grows": grows(waits),
        "batch_size": round(statistics.fmean(records for records, _ in received), 1),
        "between_claims_ms": round(1e3 * statistics.median(gaps(received)), 1),
        "cpu_us_a_batch": {name: round(each.cpu_seconds * 1e6 / len(received)) for name, each in cost.items()},
        "cores": round(sum(each.cpu_seconds for each in cost.values()) / seconds, 2),
    }


def gaps(received: Sequence[tuple[int, float]]) -> list[float]:
    """Seconds between batches."""
    return [later - earlier for (_, earlier), (_, later) in pairwise(received)] or [0.0]


def summary(waits: Sequence[float]) -> dict[str, float]:
    """Milliseconds.

    >>> summary([0.010, 0.020, 0.030])["p50_ms"]
    20.0
    """
    ordered = sorted(waits)
    places = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {
        name: round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in places.items()
    }


def grows(waits: Sequence[float]) -> bool:
    """Whether a steady rate is more than can be kept up with.

    >>> grows([0.02] * 30), grows([0.02 * place for place in range(30)])
    (False, True)
    """
    third = max(1, len(waits) // 3)
    first, last = statistics.median(waits[:third]), statistics.median(waits[-third:])
    return last > GROWING * first and last - first > 0.05


def sweep(bench: Bench, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Every rate, one after the other, through one pipeline that stays up."""
    bench.empty()
    results = {}
    with bench.pipeline("latency") as stack:
        for turn, rate in enumerate(RATES, 1):
            results[str(rate)] = result = measure(bench, stack, rate, max(seconds, 20 / rate), FIRST_REF * turn)
            tell(f"{rate:,} CDR/s: p50 {result['p50_ms']} ms, p95 {result['p95_ms']} ms, p99 {result['p99_ms']} ms")
    return results
