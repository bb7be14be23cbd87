"""docs/performance.md, from the results."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.dead import KEPT, OTHERS, WINDOW_SECONDS, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COSTS = Path(__file__).with_name("costs.md")
"""What profiles showed and what was done about it: written by whoever read them."""


def page(results: dict[str, Any]) -> str:
    """The page."""
    sections = [section(results[name]) for name, section in SECTIONS.items() if name in results]
    return "\n".join([HEAD, *sections, COSTS.read_text(encoding="utf-8") if COSTS.exists() else ""]).rstrip() + "\n"


HEAD = """# Performance

Written by `make bench` from docs/performance.json; edits by hand are lost. Absolute figures are this machine's; the
ratios, of runs that followed each other on the same servers, are what the design is judged by.

Every run: a real Redis for the dialler, a second for the broker, both with an append-only file; PostgreSQL with
`fsync`, `full_page_writes` and `synchronous_commit` on. All processes, servers included, share the cores. The records
are the same for all: every call dials another number, as a fresh list dialled once does, which is the worst case for a
cache of numbers. The pipeline has everything on: the durable inbox, its steps, a tariff of 200,000 prefixes, task
events, the reconciler. What is measured begins when the whole backlog appears on the list and ends when the last step
of the last batch is marked done. Processes are warm: each worker process has read the tariff before.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is text, the others are figures.

    >>> print(table(["what", "s"], [["all", 3]]))
    | what | s |
    | --- | ---: |
    | all | 3 |
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def measured(part: dict[str, Any]) -> str:
    """When, and on what; whoever measured may have added a note to the file by hand."""
    m = part["machine"]
    return (
        f"Measured {part['at']} on {m['cores']} cores of {m['processor']}, {m['memory']}, {m['system']}, "
        f"Python {m['python']}, {m['versions']}.{' ' + part['note'] if 'note' in part else ''}"
    )


def contest(part: dict[str, Any]) -> str:
    """The three contestants."""
    result = part["result"]
    names = {
        "bare": "bare limit: the next, into tables of its own",
        "limit": "limit: one process, pop, decode, COPY, no promises",
        "plain": "plain Celery: a task a step a CDR",
        "pipeline": "this pipeline",
    }
    medians = result["median"]
    rates = table(
        ["", "CDR/s, median", "each run"],
        [
            [title, f"{medians[name]['rate']:,}", ", ".join(f"{rate:,}" for rate in result["rates"][name])]
            for name, title in names.items()
        ],
    )
    ratios = table(
        ["", "bar", "each round"],
        [
            ["pipeline / plain Celery", "80", ", ".join(str(each) for each in result["over_plain"])],
            ["pipeline / limit", "0.35", ", ".join(str(each) for each in result["over_limit"])],
            ["pipeline / bare limit", "", ", ".join(str(each) for each in result["over_bare"])],
        ],
    )
    costs = "\n\n".join(f"{names[name]}:\n\n{_costs(medians[name])}" for name in names)
    return f"## Against the limit and the alternative\n\n{measured(part)}\n\n{rates}\n\n{ratios}\n\n{costs}\n"


def _costs(run: dict[str, Any]) -> str:
    rows = [
        [name, run["processes"][name], f"{micros:,.1f}", f"{run['peak_mb'][name]:,.0f}"]
        for name, micros in run["cpu_us"].items()
    ]
    total = sum(run["cpu_us"].values())
    return table(
        ["process", "processes", "processor µs a CDR", "peak MB of the largest"],
        [*rows, ["all", "", f"{total:,.1f}", ""]],
    )


def batch_sizes(part: dict[str, Any]) -> str:
    """The rate by batch size."""
    rows = [
        [f"{int(size):,}", f"{run['records']:,}", f"{run['rate']:,}", f"{sum(run['cpu_us'].values()):,.0f}"]
        for size, run in part["result"].items()
    ]
    head = ["records a batch, at most", "records", "CDR/s", "processor µs a CDR"]
    return f"## By batch size\n\n{measured(part)}\n\n{table(head, rows)}\n"


def latency(part: dict[str, Any]) -> str:
    """Push to committed charge, by rate."""
    rows = [
        [
            *(f"{result['rate']:,}", result["p50_ms"], result["p95_ms"], result["p99_ms"], result["max_ms"]),
            *(result["batch_size"], result["between_claims_ms"], result["cores"], "yes" if result["grows"] else "no"),
        ]
        for result in part["result"].values()
    ]
    head = ["CDR/s", "p50 ms", "p95 ms", "p99 ms", "most ms", "batch", "ms between claims", "cores busy", "grows"]
    text = (
        "From the push to the committed charge, at a steady rate at which calls end by chance. Bar at 100 and at 500: "
        "p50 50 ms, p99 250 ms."
    )
    return f"## Latency\n\n{text}\n\n{measured(part)}\n\n{table(head, rows)}\n"


def trickle(part: dict[str, Any]) -> str:
    """Processor time at low rates, beside plain Celery's."""
    ours, plain = part["result"]["pipeline"], part["result"]["plain"]
    rows = [
        [rate, *_cheap(result), *_cheap(plain.get(rate)), _dearest(result["shares"])] for rate, result in ours.items()
    ]
    head = ["CDR/s", "cores busy", "ms a CDR", "evenly", "plain Celery: cores", "ms a CDR", "evenly", "the dearest, ms"]
    text = (
        "Processor time of all processes at a steady rate, servers included, Flower not; at rest, ms a second. Calls "
        "end by chance, as they do; *evenly* is what a CDR costs where all gaps are the same, so that none comes soon "
        "enough behind another to share a batch. Plain Celery keeps up with no more than 150 CDR/s here."
    )
    return f"## At a trickle\n\n{text}\n\n{measured(part)}\n\n{table(head, rows)}\n"


def _cheap(result: dict[str, Any] | None) -> tuple[object, object, object]:
    if result is None:
        return "", "", ""
    each = result["ms_a_cdr"]
    return result["cores"], "" if each is None else each, result.get("evenly_ms_a_cdr", "")


def _dearest(shares: dict[str, float]) -> str:
    dearest = sorted(shares.items(), key=lambda share: -share[1])[:4]
    return ", ".join(f"{name} {milliseconds:g}" for name, milliseconds in dearest)


def backlogs(part: dict[str, Any]) -> str:
    """Time and memory by length of the backlog."""
    title = "## A million waiting" if len(part["result"]) == 1 else "## Longer backlogs"
    return f"{title}\n\n{measured(part)}\n\n{_runs('waiting', part['result'])}\n"


def scale_out(part: dict[str, Any]) -> str:
    """More worker processes."""
    return f"## More worker processes\n\n{measured(part)}\n\n{_runs('workers', part['result'])}\n"


def stored(part: dict[str, Any]) -> str:
    """Full tables."""
    count = part["result"]["stored"]
    runs = {name: run for name, run in part["result"].items() if name != "stored"}
    title = f"## With {count:,} calls stored"
    return f"{title}\n\n{measured(part)}\n\n{_runs('database', runs)}\n"


def feed(part: dict[str, Any]) -> str:
    """What integrators cost and get."""
    result = part["result"]
    alone, ten, cores = result["list"], result["ten"], result["latency"]["cores"]
    rows = [
        [title, *_all(ten["runs"][name], "rate"), *(_micros(ten["runs"][name], each) for each in OF_THE_FEED)]
        for name, title in (("none", "without a subscriber"), ("ten", "with ten"))
    ]
    backlog = table(["", "CDR/s, each run", "µs a CDR: feed", "PostgreSQL", "workers", "ingestor"], rows)
    hooks = table(
        ["arrival at a webhook", "p50 ms", "p95 ms", "p99 ms", "most ms"],
        [
            [name, *(each[f"{what}_ms"] for what in ("p50", "p95", "p99", "max"))]
            for name, each in result["latency"]["hooks"].items()
        ],
    )
    return (
        f"## With integrators\n\n{measured(part)}\n\n"
        f"The sink `redis-list` by itself, from memory to a Redis: {alone['rate']:,} events/s, {alone['cpu_us']} µs of "
        "our processor time an event. Bar: 20,000.\n\n"
        "A backlog without a subscriber and with ten (six lists of raw records, two streams, two webhooks of 500 "
        "events a request), in turns on the same processes, while the backlog lasts; the feed's process gives way, and "
        f"brings the rest afterwards. Kept: {_each(ten['kept'])}, median {ten['kept']['median']}. Bar: 0.9.\n\n"
        f"{backlog}\n\n"
        f"From the push of a CDR to its `call.finished` at a webhook, at {result['latency']['rate']} CDR/s, both at "
        f"once. Bar: p99 300 ms. Cores busy meanwhile: feed {cores['feed']}, all {sum(cores.values()):.2f}. Here "
        f"the feed's process gives way to nobody.\n\n{hooks}\n"
    )


def feed_dead(part: dict[str, Any]) -> str:
    """What one that is dead costs the others and the pipeline."""
    head = ["", "without", "refused: speed", "a second of processor", "hanging: speed", "a second of processor"]
    rows = [
        [
            title,
            f"{found['refused']['rate']:,}, {found['hanging']['rate']:,} {unit}/s",
            *(f"{kept['mean']} ± {kept['error']}" for way in ("refused", "hanging") for kept in _of_dead(found[way])),
        ]
        for title, unit, found in (
            (f"{OTHERS} lists that are far behind", "events", part["result"]["others"]),
            ("the pipeline, at a rate that it is given", "CDR", part["result"]["pipeline"]),
        )
    ]
    text = (
        "One that has been dead for a day: nobody listens, or a request is taken and never answered. It comes and goes "
        f"every {WINDOW_SECONDS:g} seconds, {WINDOWS} times, while all else goes on: what is done with it, over that "
        "before and after it; in a second, and in a second of processor time, of which a host that is shared takes "
        "none. Means with their standard errors. Bar: 0.98."
    )
    return f"## With an integrator that is dead\n\n{text}\n\n{measured(part)}\n\n{table(head, rows)}\n"


def _of_dead(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [found[each] for each in KEPT]


OF_THE_FEED = (("feed",), ("postgres",), ("worker, main", "worker, pool"), ("ingestor",))


def _all(runs: list[dict[str, Any]], what: str) -> list[str]:
    return [", ".join(f"{run[what]:,}" for run in runs)]


def _micros(runs: list[dict[str, Any]], names: Sequence[str]) -> str:
    """The median of the runs."""
    return f"{statistics.median(sum(run['cpu_us'][name] for name in names) for run in runs):.1f}"


def _each(ratios: dict[str, Any]) -> str:
    return ", ".join(str(each) for each in ratios["each"])


def feed_lag(part: dict[str, Any]) -> str:
    """The memory of the feed process."""
    rows = [
        [f"{run['events']:,}", run["first_mb"], run["peak_mb"], f"{run['rate']:,}"]
        + [run["event_us"][name] for name in ("feed", "postgres", "integrators' redis")]
        for run in part["result"].values()
    ]
    head = [
        "events behind",
        "MB after 10,000",
        "MB at most",
        "events/s",
        "µs an event: feed",
        "PostgreSQL",
        "its Redis",
    ]
    text = "One list of raw records that is filled from the feed, by a feed process that does nothing else."
    return f"## A subscriber that is far behind\n\n{text}\n\n{measured(part)}\n\n{table(head, rows)}\n"


def _runs(what: str, runs: dict[str, Any]) -> str:
    rows = [
        [
            *(f"{int(name):,}" if name.isdigit() else name, f"{run['records']:,}", run["seconds"], f"{run['rate']:,}"),
            f"{sum(run['cpu_us'].values()):,.0f}",
            f"{run['cpu_us']['postgres']:,.0f}",
            f"{run['peak_mb']['ingestor']:,.0f}",
            f"{max(run['peak_mb'][pool] for pool in _pools(run)):,.0f}",
            f"{run['peak_mb']['postgres']:,.0f}",
        ]
        for name, run in runs.items()
    ]
    head = [
        what,
        "records",
        "s",
        "CDR/s",
        "µs a CDR",
        "of them PostgreSQL",
        "ingestor MB",
        "worker MB",
        "PostgreSQL MB",
    ]
    return table(head, rows)


def _pools(run: dict[str, Any]) -> list[str]:
    return [name for name in run["peak_mb"] if name.endswith(", pool")]


SECTIONS = {
    "contest": contest,
    "batch_sizes": batch_sizes,
    "latency": latency,
    "trickle": trickle,
    "backlogs": backlogs,
    "million": backlogs,
    "stored": stored,
    "scale_out": scale_out,
    "feed": feed,
    "feed_dead": feed_dead,
    "feed_lag": feed_lag,
}
