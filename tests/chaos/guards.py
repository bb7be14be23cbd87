"""Takes one guard out at a time, strikes the blow it is there for, and prints what the balance says.

    python -m tests.chaos.guards

Each line is run twice, with the guard and without it; ``docs/reliability.md`` shows the output.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.chaos.harness import LIST, arena
from tests.factories import make_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.sandbox.servers import Servers
    from pipeline.sandbox.stack import Stack

RECORDS = 20
PATIENCE_SECONDS = 40.0
QUIET_SECONDS = 15.0


@dataclass(frozen=True)
class Trial:
    """A guard and the blow it is there for."""

    guard: str
    blow: str
    strike: Callable[[Servers, Stack, list[str], Path], int]
    """Pushes records and strikes; takes the words that break the guard, and returns how many calls were pushed."""


def faulty(stack: Stack, name: str, words: list[str]) -> str:
    """A process's command with faults in it."""
    if not words:
        return stack.commands[name]
    program = stack.commands[name].removeprefix("env REMAP_SIGTERM=SIGQUIT ")
    quoted = shlex.join(words)
    return f"env REMAP_SIGTERM=SIGQUIT {sys.executable} -m tests.chaos.faulty {quoted} -- {program}"


def push(servers: Servers, *elements: bytes) -> None:
    """Put elements on the dialler's list."""
    with redis.Redis.from_url(servers.dialler_redis.url) as client:
        client.rpush(LIST, *elements)


def calls(count: int = RECORDS) -> list[bytes]:
    """Answered calls of 0.81 ZAR each."""
    return [make_record(call_ref=number) for number in range(1, count + 1)]


def _ingestor_dies(point: str) -> Callable[[Servers, Stack, list[str], Path], int]:
    def strike(servers: Servers, stack: Stack, without: list[str], folder: Path) -> int:
        marker = folder / "died"
        stack.start(["worker", "beat"])
        stack.start_as("ingestor", faulty(stack, "ingestor", [*without, "die", point, str(marker)]))
        push(servers, *calls())
        while not marker.exists():
            time.sleep(0.05)
        stack.processes["ingestor"].wait()
        stack.kill("ingestor")
        stack.start_as("ingestor", faulty(stack, "ingestor", without))
        return RECORDS

    return strike


def _broker_is_wiped(servers: Servers, stack: Stack, without: list[str], _: Path) -> int:
    stack.start(["ingestor"])
    push(servers, *calls())
    while waiting(servers):
        time.sleep(0.05)
    time.sleep(1)
    with redis.Redis.from_url(servers.broker.url) as client:
        client.flushall()
    stack.start(["beat"])
    stack.start_as("worker", faulty(stack, "worker", without))
    return RECORDS


def _dialler_replays(servers: Servers, stack: Stack, without: list[str], _: Path) -> int:
    stack.start(["ingestor", "beat"])
    stack.start_as("worker", faulty(stack, "worker", without))
    push(servers, *calls(), *calls())
    return RECORDS


def _poison_arrives(servers: Servers, stack: Stack, without: list[str], _: Path) -> int:
    stack.start(["ingestor", "beat"])
    stack.start_as("worker", faulty(stack, "worker", [*without, "poison"]))
    records = calls()
    records[7] = make_record(call_ref=8, contact_ref="poison")
    push(servers, *records)
    return RECORDS


TRIALS = [
    Trial(
        "recovery of orphan claims",
        "ingestor killed between claim and settle",
        _ingestor_dies("between claim and settle"),
    ),
    Trial(
        "the claim as the batch's identity",
        "ingestor killed between settle and drop",
        _ingestor_dies("between settle and drop"),
    ),
    Trial("the reconciler", "broker wiped", _broker_is_wiped),
    Trial("the key (source, call_ref)", "dialler replays its backup file", _dialler_replays),
    Trial("careful parts", "a record that kills its worker", _poison_arrives),
]


def waiting(servers: Servers) -> int:
    """Elements nobody has claimed."""
    with redis.Redis.from_url(servers.dialler_redis.url) as client:
        return int(client.llen(LIST))


def balance(stack: Stack) -> dict[str, Any]:
    """What the balance says now."""
    sheet: dict[str, Any] = json.loads(stack.run("pipeline", "balance", "--json").stdout)
    return sheet


def outcome(trial: Trial, without: list[str]) -> str:
    """Run a trial and put the balance in a line."""
    with (
        tempfile.TemporaryDirectory(prefix="cdr-guards-", ignore_cleanup_errors=True) as folder,
        arena(Path(folder), ()) as (servers, stack),
    ):
        pushed = trial.strike(servers, stack, without, Path(folder))
        deadline = time.monotonic() + PATIENCE_SECONDS
        quiet_until = time.monotonic() + QUIET_SECONDS
        sheet = balance(stack)
        while time.monotonic() < deadline and (sheet["pending"]["records"] or time.monotonic() < quiet_until):
            time.sleep(1)
            sheet = balance(stack)
        figures = ", ".join(
            f"{place} {sheet[place]['records']}"
            for place in ("received", "processed", "duplicate", "quarantined", "pending")
            if sheet[place]["records"]
        )
        return f"pushed {pushed}: {figures or 'received 0'}; charged {sheet['charged'].get('ZAR', '0')}"


def main() -> None:
    """Print a Markdown table."""
    print("| guard | the blow that needs it | with it | without it |")  # noqa: T201
    print("|---|---|---|---|")  # noqa: T201
    for trial in TRIALS:
        with_it, without_it = outcome(trial, []), outcome(trial, ["without", trial.guard])
        print(f"| {trial.guard} | {trial.blow} | {with_it} | {without_it} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
