"""How long a month takes to reconcile: a million lines against a million calls, two hours and three seconds apart.

    python -m tests.bench.reconcile --calls 1000000

The month is made by SQL in a sandbox PostgreSQL, with every class of difference seeded and calls to one number 40 seconds
apart (tests/provider_month.py). What is printed: the lines, the pairs and classes that are wrong, the seconds it took, the
most memory that this process held, and the most that one of the server's did.
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

from pipeline.accounts.reconcile import Wanted, reconcile
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.sandbox.servers import PostgresServer
from tests import provider_month, provider_tables
from tests.bench.folders import folder

MONTH = Wanted(
    provider_month.PROVIDER, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), "UTC"
)
MB = 1024


def main() -> int:
    """Fill a database, then reconcile it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reconcile")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with folder() as place, PostgresServer(place / "postgres", fsync=False, settings={"max_wal_size": "4GB"}) as server:
        engine = make_engine(server.url, application="bench")
        upgrade(engine)
        provider_tables.make(engine)
        began = time.monotonic()
        provider_month.fill(engine, options.calls)
        print(f"made {options.calls:,} calls and their lines in {time.monotonic() - began:.0f} s", flush=True)
        for turn in range(options.rounds):
            began, used = time.monotonic(), time.process_time()
            run = reconcile(engine, MONTH, who="bench").run
            took, cpu = time.monotonic() - began, time.process_time() - used
            lines = sum(sums["lines"] for sums in run.totals.values())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
            print(
                f"reconcile {turn + 1}: {lines:,} lines, {provider_month.wrong(engine)} wrong, "
                f"{took:.1f} s ({cpu:.1f} s of this process), peak {peak:.0f} MB here, "
                f"{_servers_peak():.0f} MB in one of the server's; {run.state}, offset {run.offsets['parts']}",
                flush=True,
            )
        for name, sums in run.totals.items():
            print(f"  {name}: {sums['lines']:,} lines, {sums['calls']:,} calls")
        engine.dispose()
    return int(run.state != "done")


def _servers_peak() -> float:
    """In megabytes, of the processes that stand now; its shared memory counts in each."""
    peaks = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if fields["Name"].strip() == "postgres":
            peaks.append(int(fields.get("VmHWM", "0 kB").split()[0]) / MB)
    return max(peaks)


if __name__ == "__main__":
    raise SystemExit(main())
