"""Every measurement of docs/performance.md, in one run: ``make bench``, or a part: ``make bench PARTS="latency"``.

The parts ``million``, ``stored``, ``feed``, ``feed_dead`` and ``feed_lag`` take long or much disk: they run only when
named. Each part's last result is kept in docs/performance.json with its date, and the page is written from that file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.sandbox.servers import sandbox_servers
from pipeline.sandbox.stack import ROOT
from tests.bench import dead, feed, latency, scale, throughput, trickle
from tests.bench.contestants import SERVER_SETTINGS, Bench
from tests.bench.folders import folder
from tests.bench.machine import machine
from tests.bench.page import page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RESULTS = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
USUAL = ("contest", "batch_sizes", "latency", "trickle", "backlogs", "scale_out")
LONG = ("million", "stored", "feed", "feed_dead", "feed_lag")


def tell(line: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def measure(part: str, bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """One part."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "contest": lambda: throughput.contest(bench, options.rounds, tell),
        "batch_sizes": lambda: throughput.by_batch_size(bench, tell),
        "latency": lambda: latency.sweep(bench, options.seconds, tell),
        "trickle": lambda: trickle.sweep(bench, options.seconds, tell),
        "backlogs": lambda: scale.backlogs(bench, scale.BACKLOGS, tell),
        "million": lambda: scale.backlogs(bench, (scale.MILLION,), tell),
        "scale_out": lambda: scale.scale_out(bench, tell),
        "stored": lambda: scale.with_stored(bench, options.stored, tell),
        "feed": lambda: feed.measure(bench, options.rounds, options.seconds, tell),
        "feed_dead": lambda: dead.measure(bench, tell),
        "feed_lag": lambda: feed.lagging(bench, tell),
    }
    return parts[part]()


@contextlib.contextmanager
def benches(place: Path, part: str) -> Iterator[Bench]:
    """Servers for a part; those of latency note when each transaction was committed."""
    settings = SERVER_SETTINGS | (latency.SETTINGS if part == "latency" else {})
    with sandbox_servers(place / part, settings=settings) as servers:
        yield Bench(servers, place / f"{part}-logs")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(USUAL)}; by name only: {', '.join(LONG)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the three contestants")
    parser.add_argument("--seconds", type=float, default=12.0, help="a rate of CDRs is held, to measure latency")
    parser.add_argument("--stored", type=int, default=10_000_000, help="calls, for the part of that name")
    parser.add_argument("--page-only", action="store_true", help="write the page again from the last results")
    options = parser.parse_args()
    unknown = set(options.parts) - {*USUAL, *LONG}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Measure, keep, and write the page."""
    options = arguments()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in () if options.page_only else options.parts or USUAL:
        with folder() as place, benches(place, part) as bench:
            result = measure(part, bench, options)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        results[part] = {"at": at, "machine": machine(), "result": result}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(results))
    tell(f"written: {RESULTS.relative_to(ROOT)}, {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
