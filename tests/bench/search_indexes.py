"""What each index that a search walks costs the pipeline: processor a CDR with none of them, with each alone, with all.

    python -m tests.bench.search_indexes

The variants take turns, so that what else the machine does falls on all of them; the figure is the server's and the
workers' processor time, which a busy machine leaves about as it is.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from importlib import import_module
from typing import Final

from pipeline.sandbox.servers import sandbox_servers
from tests.bench.contestants import SERVER_SETTINGS, Bench, run_pipeline
from tests.bench.folders import folder

INDEXES: Final = tuple(import_module("pipeline.database.migrations.versions.0022_calls_are_searched").INDEXES)


def main() -> None:
    """Alternate, and say what each costs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.search_indexes")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="variants: none, all, or an index")
    options = parser.parse_args()
    variants = {"none": (), "all": INDEXES, **{name: (name,) for name in INDEXES}}
    variants = {name: kept for name, kept in variants.items() if not options.only or name in options.only}
    spent: dict[str, list[float]] = defaultdict(list)
    with folder() as place, sandbox_servers(place / "servers", settings=SERVER_SETTINGS) as servers:
        bench = Bench(servers, place / "logs")
        for turn in range(options.rounds):
            for name, kept in variants.items():
                bench.empty()
                bench.execute(*(f"DROP INDEX {each}" for each in INDEXES if each not in kept))
                run = run_pipeline(bench, options.records, empty=False)
                micros = {who: value for who, value in run.micros.items() if who != "beat"}
                spent[name].append(sum(micros.values()))
                print(f"{turn + 1} {name:36} {sum(micros.values()):7.1f} us, {run.rate:7.0f} CDR/s, "
                      f"postgres {micros['postgres']:6.1f} us", flush=True)  # fmt: skip
    print(json.dumps({name: round(statistics.median(each), 1) for name, each in spent.items()}, indent=1))


if __name__ == "__main__":
    main()
