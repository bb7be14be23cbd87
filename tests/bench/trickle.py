"""What a CDR costs at the rates that call centres live at: processor time of all processes, servers included.

The pipeline and plain Celery, one after the other on the same servers, each at rest and at a few steady rates. Calls
end as they do, knowing nothing of each other; and evenly spaced, which leaves nothing to be gathered.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg

from tests.bench.latency import FIRST_REF, WARM_UP_SECONDS, push
from tests.bench.processes import costs, spent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.sandbox.stack import Stack
    from tests.bench.contestants import Bench
    from tests.bench.processes import Cost

RATES = (0, 1, 5, 20, 100, 500)
BEYOND_PLAIN = 150
"""Plain Celery keeps up with no more than this many CDRs a second here; beyond it there is nothing to compare."""

FEW = 5
FEW_SECONDS = 30.0
"""What a process costs is counted in hundredths of a second, of which few CDRs need few."""
SETTLED_SECONDS = 0.3
MOST = 1_000_000
CHARGED = "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM uncharged)"


def sweep(bench: Bench, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """Every rate, through both contestants."""
    results: dict[str, Any] = {}
    for name, start in (("pipeline", _pipeline), ("plain", _plain)):
        bench.empty()
        results[name] = {}
        with start(bench) as stack:
            # The highest first: what has run for a while has read its tariff and prepared its statements.
            for turn, rate in enumerate(reversed(RATES), 1):
                if name == "plain" and rate > BEYOND_PLAIN:
                    continue
                held = seconds if rate > FEW else max(seconds, FEW_SECONDS)
                first = FIRST_REF * turn
                results[name][str(rate)] = result = _measure(bench, stack, rate, held, first, random.Random(turn))
                if rate > FEW:
                    evenly = _measure(bench, stack, rate, held, first + FIRST_REF // 2)
                    result["evenly_ms_a_cdr"] = evenly["ms_a_cdr"]
                tell(
                    f"{name}, {rate} CDR/s: {result['ms_a_cdr']} ms a CDR, evenly {result.get('evenly_ms_a_cdr')}, "
                    f"{result['cores']} cores busy"
                )
        results[name] = dict(reversed(results[name].items()))
    return results


@contextlib.contextmanager
def _pipeline(bench: Bench) -> Iterator[Stack]:
    with bench.pipeline("trickle") as stack:
        yield stack


@contextlib.contextmanager
def _plain(bench: Bench) -> Iterator[Stack]:
    with bench.stack("plain") as stack:
        options = "--without-mingle --without-gossip --without-heartbeat"
        stack.start_as("worker", f"celery -A tests.bench.plain worker --concurrency 2 {options}")
        stack.start_as("feeder", f"{sys.executable} -m tests.bench.plain {MOST}")
        push(bench.servers.dialler_redis.url, 20, WARM_UP_SECONDS, FIRST_REF * (len(RATES) + 1))
        _wait(bench, round(20 * WARM_UP_SECONDS))
        yield stack


def _measure(
    bench: Bench,
    stack: Stack,
    rate: float,
    seconds: float,
    first_call_ref: int,
    chance: random.Random | None = None,
) -> dict[str, Any]:
    roots = {**{name: process.pid for name, process in stack.processes.items()}, **bench.server_roots}
    # Else PostgreSQL would do within this rate what the ones before it, up to a hundred times as high, left to be done.
    bench.execute("VACUUM ANALYZE")
    before_all = bench.value(CHARGED)
    sent = 0
    if rate:
        sent = len(push(bench.servers.dialler_redis.url, rate, WARM_UP_SECONDS, first_call_ref))
    before = costs(roots)
    began = time.monotonic()
    records = 0
    if rate:
        records = len(push(bench.servers.dialler_redis.url, rate, seconds, first_call_ref + sent, chance))
    else:
        time.sleep(seconds)
    took = time.monotonic() - began
    time.sleep(SETTLED_SECONDS if rate else 0)
    _wait(bench, before_all + sent + records)  # what lags behind costs as well
    cost = spent(before, costs(roots))
    busy = sum(each.cpu_seconds for each in cost.values())
    return {
        "records": records,
        "cores": round(busy / took, 3),
        "ms_a_cdr": round(busy * 1e3 / records, 1) if records else None,
        "shares": {name: _share(each, records, took) for name, each in cost.items()},
    }


def _share(cost: Cost, records: int, seconds: float) -> float:
    """Milliseconds a CDR; at rest, milliseconds a second."""
    return round(cost.cpu_seconds * 1e3 / (records or seconds), 2)


def _wait(bench: Bench, charged: int, seconds: float = 120.0) -> None:
    """Until every call has its charge or the reason for none."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(bench.database, autocommit=True) as connection:
        while connection.execute(CHARGED.encode()).fetchone() != (charged,):
            assert time.monotonic() < deadline, "calls are not charged"
            time.sleep(0.1)
