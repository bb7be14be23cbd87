"""What many months of calls cost: the pipeline's speed, look-ups, the balance of a month, and dropping one.

    python -m tests.bench.ranges --calls 20000000 --ranges 24

Each range is filled by itself, as months are. The pipeline runs over the full database, and over an empty one. While a
range is dropped another connection reads and writes the tables without a pause: its longest wait is told.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.balance.sheet import balance_sheet
from pipeline.calls.call_rows import calls_by_ref
from pipeline.database.engine import make_engine
from pipeline.database.ranges import KEYS, all_ranges, part_of
from pipeline.lookup.history import history_of
from pipeline.ranges.drop import Looked, drop
from pipeline.record_ids import PLACES
from pipeline.sandbox.servers import sandbox_servers
from tests.bench.balance import FILL, RECORDS
from tests.bench.contestants import SERVER_SETTINGS, Bench, run_pipeline
from tests.bench.folders import folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

BACKLOG = 200_000
LOOKUPS = 2_000
FILLED = {"batches", *KEYS, "call_keys"}
"""The tariff is there."""
SETTINGS = SERVER_SETTINGS | {"max_wal_size": "16GB", "maintenance_work_mem": "512MB"}


def cut(engine: Engine, ranges: int, batches: int) -> list[str]:
    """Cut the tables into as many ranges of as many batches; the last takes all that comes. Returns their names."""
    width = batches // ranges
    names = [f"{2025 + n // 12}-{n % 12 + 1:02d}" for n in range(ranges)]
    with engine.begin() as connection:
        for one in all_ranges(connection):
            for table in KEYS:
                connection.execute(text(f"DROP TABLE {part_of(table, one.name)}"))
        connection.execute(text("DELETE FROM ranges"))
        for n, name in enumerate(names):
            first = 0 if n == 0 else (n * width + 1) * PLACES
            end = (n + 1) * width * PLACES + PLACES if n < ranges - 1 else 1 << 62
            values = {"name": name, "first": first, "end": end}
            connection.execute(
                text(
                    "INSERT INTO ranges (name, first_record, end_record, began_at) "
                    "VALUES (:name, :first, :end, now() - interval '1 month' * :ago)"
                ),
                values | {"ago": ranges - 1 - n},
            )
            for table in KEYS:
                made = text("SELECT make_range(:table, :part, :first, :end)")
                connection.execute(made, values | {"table": table, "part": part_of(table, name)})
    return names


def fill(engine: Engine, names: list[str], batches: int) -> None:
    """Fill each range, its calls dialled and received in a month of its own."""
    width = batches // len(names)
    for n, name in enumerate(names):
        began = time.monotonic()
        bounds = {"low": n * width + 1, "high": (n + 1) * width, "ago": len(names) - 1 - n}
        with engine.begin() as connection:
            connection.execute(text("SELECT set_config('cdr.enters_keys', 'on', true)"))
            for statement in [*FILL, "INSERT INTO call_keys SELECT call_ref, source, id FROM calls"]:
                if statement.split()[2] not in FILLED:
                    continue
                query = _of_range(statement, name)
                values = bounds | {"records": RECORDS, "places": PLACES}
                connection.execute(text(query), {key: value for key, value in values.items() if f":{key}" in query})
        print(f"{name}: {width * RECORDS:,} calls in {time.monotonic() - began:.0f} s", flush=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _of_range(statement: str, name: str) -> str:
    for table in KEYS:
        statement = statement.replace(f"FROM {table}\n", f"FROM {part_of(table, name)}\n")
        statement = statement.replace(f"FROM {table} AS", f"FROM {part_of(table, name)} AS")
        if statement.endswith(f"FROM {table}"):
            statement = statement.removesuffix(table) + part_of(table, name)
    return (
        statement.replace(
            "generate_series(1, :batches)", "generate_series(cast(:low AS bigint), cast(:high AS bigint))"
        )
        .replace("interval '1 second' * (:batches - n)", "interval '1 month' * :ago")
        .replace("'outbound', now(),", "'outbound', now() - interval '1 month' * :ago,")
    )


def timed(times: int, ask: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of what is done so often."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1_000)
    took.sort()
    return {f"p{part}": round(took[min(times - 1, times * part // 100)], 2) for part in (50, 95, 99)}


def lookups(connection: Connection) -> dict[str, Any]:
    """A call by its reference, and the references of a batch, anywhere in the ranges."""
    chance = random.Random(1)
    refs = list(connection.scalars(text("SELECT call_ref FROM calls TABLESAMPLE SYSTEM (0.05) LIMIT 20000")))
    connection.execute(text("SELECT count(*) FROM call_keys"))
    return {
        "history of a call, ms": timed(LOOKUPS, lambda: history_of(connection, chance.choice(refs), "enigma")),
        "a call by its key, ms": timed(LOOKUPS, lambda: calls_by_ref(connection, "enigma", [chance.choice(refs)])),
        "500 calls by their keys, ms": timed(100, lambda: calls_by_ref(connection, "enigma", chance.sample(refs, 500))),
    }


def balances(engine: Engine) -> dict[str, float]:
    """Seconds of a sheet of one month in the middle, and of everything."""
    with engine.connect() as connection:
        middle = connection.scalar(
            text("SELECT received_at FROM batches ORDER BY id OFFSET (SELECT count(*) / 2 FROM batches) LIMIT 1")
        )
        connection.rollback()
        took = {}
        hour = timedelta(hours=1)
        for name, window in (("of a month", {"since": middle - hour, "until": middle + hour}), ("of all", {})):
            began = time.monotonic()
            sheet = balance_sheet(connection, **window)
            took[name] = round(time.monotonic() - began, 1)
            took[f"{name}, records"] = sheet.received.records
            print(name, took, flush=True)
    return took


def dropped(engine: Engine, name: str) -> dict[str, float]:
    """Seconds that dropping a range takes, and the longest that others waited for a statement meanwhile."""
    stop, longest, turns = threading.Event(), {"reading": 0.0, "writing": 0.0}, 0

    def others() -> None:
        nonlocal turns
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            top = connection.scalar(text("SELECT max(record_id) FROM inbox")) + 1
            while not stop.is_set():
                for what, query in (
                    ("reading", "SELECT count(*) FROM calls WHERE id = :id"),
                    ("writing", "INSERT INTO inbox (record_id, raw) VALUES (:id, '')"),
                ):
                    began = time.monotonic()
                    connection.execute(text(query), {"id": top + turns})
                    longest[what] = max(longest[what], time.monotonic() - began)
                turns += 1

    with engine.connect() as connection:
        [one] = [each for each in all_ranges(connection) if each.name == name]
        connection.rollback()
        sheet = balance_sheet(connection, records=one.records)
    at_work = threading.Thread(target=others)
    at_work.start()
    time.sleep(1)
    began = time.monotonic()
    try:
        drop(engine, Looked(one, sheet, []), who="bench", because="bench")
    finally:
        seconds = time.monotonic() - began
        stop.set()
        at_work.join()
    return {"seconds": round(seconds, 2), "statements": turns * 2} | {
        f"longest {what}, ms": round(took * 1_000, 1) for what, took in longest.items()
    }


def main() -> None:
    """Filled, walked, looked up, balanced, dropped, empty."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ranges")
    parser.add_argument("--calls", type=int, default=20_000_000)
    parser.add_argument("--ranges", type=int, default=24)
    parser.add_argument("--wait-for", type=Path, help="measure when this file is there: when nothing else runs")
    options = parser.parse_args()
    batches = options.calls // RECORDS // options.ranges * options.ranges
    with folder() as place, sandbox_servers(place / "servers", settings=SETTINGS) as servers:
        bench = Bench(servers, place / "logs")
        bench.empty()
        engine = make_engine(bench.database_url, application="bench")
        names = cut(engine, options.ranges, batches)
        fill(engine, names, batches)
        bench.execute("SELECT setval('batches_id_seq', (SELECT max(id) FROM batches))", "CHECKPOINT")
        while options.wait_for is not None and not options.wait_for.exists():
            time.sleep(1)
        size = bench.value("SELECT pg_database_size(current_database())")
        found: dict[str, Any] = {"calls": batches * RECORDS, "ranges": options.ranges, "GB": round(size / 1e9, 1)}
        found["full, CDR/s"] = [round(run_pipeline(bench, BACKLOG, empty=False).rate) for _ in range(2)]
        print(json.dumps(found), flush=True)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found |= lookups(connection)
        print(json.dumps(found), flush=True)
        found["drop"] = dropped(engine, names[0])
        print(json.dumps(found), flush=True)
        found["balance, s"] = balances(engine)
        print(json.dumps(found), flush=True)
        engine.dispose()
        found["empty, CDR/s"] = [round(run_pipeline(bench, BACKLOG).rate) for _ in range(2)]
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
