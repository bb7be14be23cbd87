"""Longer backlogs, fuller tables, more worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.database.engine import make_engine
from tests.bench.balance import fill
from tests.bench.contestants import run_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.contestants import Bench

BACKLOGS = (10_000, 100_000)
MILLION = 1_000_000
WORKERS: dict[str, dict[str, int]] = {
    "1 process": {"worker": 1},
    "2 processes": {"worker": 2},
    "4 processes": {"worker": 4},
    "2 hosts of 2 processes": {"worker-a": 2, "worker-b": 2},
}
OUT_RECORDS = 100_000
STORED_RECORDS = 200_000


def backlogs(bench: Bench, sizes: tuple[int, ...], tell: Callable[[str], None]) -> dict[str, Any]:
    """The same speed and the same memory, however much waits."""
    results = {}
    for size in sizes:
        run = run_pipeline(bench, size)
        results[str(size)] = run.as_json()
        tell(f"{size:,} waiting: {run.seconds:.1f} s, {run.rate:,.0f} CDR/s")
    return results


def scale_out(bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """More worker processes on the same two cores: where something else than Python becomes the limit."""
    results = {}
    for name, workers in WORKERS.items():
        run = run_pipeline(bench, OUT_RECORDS, workers=workers)
        results[name] = run.as_json()
        tell(f"{name}: {run.rate:,.0f} CDR/s")
    return results


def with_stored(bench: Bench, stored: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """An empty database, one with many calls, an empty one again: the two empty ones say how steady the machine is."""
    results: dict[str, Any] = {"stored": stored}
    for name in ("empty", "full", "empty again"):
        bench.empty()
        if name == "full":
            _fill(bench, stored)
            tell(f"{stored:,} calls stored, {bench.value('SELECT pg_database_size(current_database())') / 1e9:.1f} GB")
        run = run_pipeline(bench, STORED_RECORDS, empty=False)
        results[name] = run.as_json()
        tell(f"{name}: {run.rate:,.0f} CDR/s")
    bench.empty()
    return results


def _fill(bench: Bench, stored: int) -> None:
    engine = make_engine(bench.database_url, application="bench")
    fill(engine, stored)
    engine.dispose()
