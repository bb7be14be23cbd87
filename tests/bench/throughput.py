"""CDRs a second from the first pop to the last ledger line: the limit, plain Celery, and this pipeline."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from tests.bench.contestants import run_limit, run_pipeline, run_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.contestants import Bench, Run

RECORDS = {"bare": 200_000, "limit": 200_000, "plain": 2_000, "pipeline": 200_000}
RUNS: dict[str, Callable[[Bench, int], Run]] = {
    "bare": lambda bench, records: run_limit(bench, records, bare=True),
    "limit": run_limit,
    "plain": run_plain,
    "pipeline": run_pipeline,
}
BATCH_SIZES = {1: 1_000, 10: 5_000, 100: 50_000, 500: 100_000, 1_000: 200_000, 2_000: 200_000, 5_000: 200_000}
"""How many records each batch size is measured with."""


def contest(bench: Bench, rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Rounds of all three, one after the other; the ratios are of runs of one round."""
    runs: dict[str, list[Run]] = {name: [] for name in RECORDS}
    for turn in range(1, rounds + 1):
        for name, run in RUNS.items():
            runs[name].append(run(bench, RECORDS[name]))
            tell(f"round {turn}, {name}: {runs[name][-1].rate:,.0f} CDR/s")

    def over(name: str) -> list[float]:
        return [ours.rate / theirs.rate for ours, theirs in zip(runs["pipeline"], runs[name], strict=True)]

    return {
        "rates": {name: [round(run.rate) for run in each] for name, each in runs.items()},
        "median": {name: _median(each).as_json() for name, each in runs.items()},
        "over_plain": [round(each, 1) for each in over("plain")],
        "over_limit": [round(each, 3) for each in over("limit")],
        "over_bare": [round(each, 3) for each in over("bare")],
    }


def by_batch_size(bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """The pipeline at several batch sizes."""
    results = {}
    for size, records in BATCH_SIZES.items():
        run = run_pipeline(bench, records, env={"PIPELINE_BATCH_SIZE": str(size)})
        results[str(size)] = run.as_json()
        tell(f"batches of {size:,}: {run.rate:,.0f} CDR/s")
    return results


def _median(runs: list[Run]) -> Run:
    middle = statistics.median_low(run.rate for run in runs)
    return next(run for run in runs if run.rate == middle)
