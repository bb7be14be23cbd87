"""How long the traffic of a day and of a month takes to count, and the look for numbers that fell.

    python -m tests.bench.traffic --calls 4000000

The calls are those of the bench of the search: of three months, 40 campaigns, 400 agents and 12 own numbers, two of
five answered, with hold times. Each question is asked several times; what is told is the shortest, the longest, and how
many groups came of it.
"""

from __future__ import annotations

import argparse
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.billing.billed_calls import Selection
from pipeline.database.engine import make_engine
from pipeline.lookup.traffic_report import TrafficBy, traffic_by
from pipeline.monitoring.fallen import fallen_numbers
from pipeline.sandbox.servers import PostgresServer
from tests.bench.folders import folder
from tests.bench.search import ENDS, FILL, RECORDS, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from sqlalchemy import Engine

ZONE = "Africa/Johannesburg"
SPANS = {"a day": timedelta(days=1), "two days": timedelta(days=2), "a month": timedelta(days=30)}


def measure(engine: Engine, times: int) -> None:
    """Every question, in milliseconds."""

    def tell(name: str, ask: Callable[[], Sized]) -> None:
        took = []
        for _ in range(times):
            began = time.perf_counter()
            many = len(ask())
            took.append((time.perf_counter() - began) * 1_000)
        print(f"{name:28} {min(took):8.0f} to {max(took):8.0f} ms   {many:6} groups", flush=True)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for span, long in SPANS.items():
            window = Selection(ENDS - long, ENDS)
            for by in TrafficBy:
                tell(f"{span} by {by}", partial(traffic_by, connection, window, by, ZONE))
            counted = text("SELECT count(*) FROM calls WHERE dialed_at >= :since AND dialed_at < :until")
            print(f"{span}: {connection.scalar(counted, {'since': window.since, 'until': window.until}):,} calls")
        tell("numbers that fell", partial(fallen_numbers, connection, ENDS))


def main() -> None:
    """Fill a database and ask."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.traffic")
    parser.add_argument("--calls", type=int, default=4_000_000)
    parser.add_argument("--times", type=int, default=5, help="each question is asked")
    options = parser.parse_args()
    with (
        folder() as place,
        PostgresServer(
            place / "postgres", fsync=False, settings={"max_wal_size": "4GB"}, start_seconds=600.0
        ) as server,
    ):
        engine = make_engine(server.url, application="bench")
        try:
            fill(engine, options.calls // RECORDS * RECORDS, FILL[:3])
            measure(engine, options.times)
        finally:
            engine.dispose()


if __name__ == "__main__":
    main()
