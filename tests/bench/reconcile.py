"""How long a month takes to reconcile: a million lines against a million calls, two hours and three seconds apart.

    python -m tests.bench.reconcile --calls 1000000

The month is made by SQL in a sandbox PostgreSQL, with every class of difference seeded and calls to one number 40
seconds apart (tests/provider_month.py). What is printed: the lines, the pairs and classes that are wrong, the seconds
it took, the most memory that this process held, and the most that one of the server's did.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

from pipeline.accounts.reconcile import reconcile
from pipeline.accounts.reconcile_rows import Wanted
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.sandbox.servers import PostgresServer
from tests import provider_month
from tests.bench.folders import folder

MONTH = Wanted(provider_month.PROVIDER, datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), "UTC")
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
        began = time.monotonic()
        provider_month.fill(engine, options.calls)
        print(f"made {options.calls:,} calls and their lines in {time.monotonic() - began:.0f} s", flush=True)
        for turn in range(options.rounds):
            began, used, theirs = time.monotonic(), time.process_time(), _servers_seconds()
            run = reconcile(engine, MONTH, who="bench").run
            took, cpu, theirs = time.monotonic() - began, time.process_time() - used, _servers_seconds() - theirs
            lines = sum(sums["lines"] for sums in run.totals.values())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB
            print(
                f"reconcile {turn + 1}: {lines:,} lines, {provider_month.wrong(engine)} wrong, "
                f"{took:.1f} s ({cpu:.1f} s of a core here, {theirs:.1f} s in the server), peak {peak:.0f} MB here, "
                f"{_servers_peak():.0f} MB in one of the server's; {run.state}, offset {run.offsets['parts']}",
                flush=True,
            )
        for name, sums in run.totals.items():
            print(f"  {name}: {sums['lines']:,} lines, {sums['calls']:,} calls")
        engine.dispose()
    return int(run.state != "done")


def _servers() -> list[Path]:
    return [each.parent for each in Path("/proc").glob("[0-9]*/comm") if each.read_text().strip() == "postgres"]


def _servers_seconds() -> float:
    """Of a core, by the processes that stand now, of all servers of this machine."""
    ticks = sum(sum(map(int, (each / "stat").read_text().rpartition(")")[2].split()[11:13])) for each in _servers())
    return ticks / os.sysconf("SC_CLK_TCK")


def _servers_peak() -> float:
    """In megabytes, of the processes that stand now; the memory they share counts in each."""
    fields = [dict(line.split(":", 1) for line in (each / "status").read_text().splitlines()) for each in _servers()]
    return max((int(each.get("VmHWM", "0 kB").split()[0]) / MB for each in fields), default=0.0)


if __name__ == "__main__":
    raise SystemExit(main())
