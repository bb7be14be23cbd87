"""Runs a process of the pipeline with one thing wrong: it dies at a chosen point, or lacks one of its guards.

    python -m tests.chaos.faulty die POINT MARKER -- pipeline ingest
    python -m tests.chaos.faulty armed ingestor FOLDER -- pipeline ingest
    python -m tests.chaos.faulty poison -- celery -A pipeline worker …
    python -m tests.chaos.faulty without GUARD die POINT MARKER -- pipeline ingest

The production code knows nothing of this: functions are wrapped from outside, before the process starts. A process dies
once: it leaves MARKER behind, and whoever finds that file goes on living. An armed one dies at whichever of its points
has a file of that name in FOLDER, and takes the file with it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.outside import run_program, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

# Where a process can die: what is wrapped, and whether it dies before or after that.
POINTS = {
    # the ingestor
    "before the claim": ("pipeline.dialler.cdr_list", "CdrList.claim", "before"),
    "between claim and settle": ("pipeline.dialler.cdr_list", "CdrList.claim", "after"),
    "inside the settling transaction": ("pipeline.ingest.settling", "settle", "after"),
    "between settle and drop": ("pipeline.ingest.settling", "Settling._let_go", "before"),
    "between drop and publish": ("pipeline.ingest.settling", "Settling._let_go", "after"),
    "after the ingestor published": ("pipeline.ingestor", "send_step", "after"),
    # a worker with a batch that goes through all steps at once
    "message taken, batch not begun": ("pipeline.tasks.flow", "run_all_steps", "before"),
    "all steps locked, nothing read": ("pipeline.batches.run", "lock_all_steps", "after"),
    "all steps done, not committed": ("pipeline.batches.run", "mark_all_done", "after"),
    "all steps committed, not acknowledged": ("pipeline.tasks.flow", "run_all_steps", "after"),
    # a worker with one that goes step by step
    "message taken, step not begun": ("pipeline.tasks.flow", "run_step", "before"),
    "step locked, nothing read": ("pipeline.batches.run", "lock_step", "after"),
    "calls written, not committed": ("pipeline.calls.normalize", "copy_calls", "after"),
    "dispositions written, not committed": ("pipeline.calls.classify", "insert_dispositions", "after"),
    "charges written, not committed": ("pipeline.billing.bill", "insert_lines", "after"),
    "step marked, not committed": ("pipeline.batches.run", "mark_done", "after"),
    "between commit and publish": ("pipeline.tasks.flow", "run_step", "after"),
    "between publish and acknowledgement": ("pipeline.tasks.flow", "send_step", "after"),
}
IN_INGESTOR = ("pipeline.dialler.", "pipeline.ingest")
WHOLE = ("pipeline.tasks.flow", "run_all_steps")
BY_STEPS = [
    point
    for point, (module, name, _) in POINTS.items()
    if (module, name) in {(WHOLE[0], "run_step"), ("pipeline.batches.run", "lock_step"), (WHOLE[0], "send_step")}
    or name == "mark_done"
]
"""What only a batch passes that goes step by step."""
INGESTOR_POINTS = [point for point, (module, _, _) in POINTS.items() if module.startswith(IN_INGESTOR)]
WORKER_POINTS = [point for point in POINTS if point not in INGESTOR_POINTS]


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _settle_without_gate(connection: Any, claim: Any, source: str, elements: Any, **options: Any) -> Any:
    """Settle as if every claim were new."""
    import uuid  # noqa: PLC0415

    from pipeline.ingest import inbox  # noqa: PLC0415

    del claim
    return inbox.settle(connection, uuid.uuid4(), source, elements, **options)


def _insert_every_record(real: Callable[..., Any]) -> Callable[..., Any]:
    """Take every record for a new call, as if call references meant nothing."""

    def insert(connection: Any, source: str, new: Any) -> Any:
        import msgspec  # noqa: PLC0415

        renamed = [
            call._replace(cdr=msgspec.structs.replace(call.cdr, call_ref=f"{call.cdr.call_ref}/{call.record_id}"))
            for call in new
        ]
        return real(connection, source, renamed)

    return insert


def _never_suspicious(real: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        return real(*args, **(options | {"worker_was_lost": False}))

    return run


# What a guard is taken out by: module, name, and what stands in its place.
GUARDS: dict[str, list[tuple[str, str, Callable[[Any], Any]]]] = {
    "recovery of orphan claims": [("pipeline.ingest.loop", "Ingestor.recover", lambda _: _nothing)],
    "the claim as the batch's identity": [("pipeline.ingest.settling", "settle", lambda _: _settle_without_gate)],
    "the reconciler": [("pipeline.batches.reconcile", "take_overdue", lambda _: lambda *_, **__: [])],
    "the key (source, call_ref)": [
        ("pipeline.calls.normalize", "copy_calls", _insert_every_record),
        ("pipeline.calls.normalize", "insert_calls", _insert_every_record),
    ],
    "careful parts": [
        ("pipeline.tasks.flow", "run_step", _never_suspicious),
        ("pipeline.batches.run", "_suspicious", lambda _: lambda *_: False),
    ],
}


def one_by_one(folder: Path) -> Callable[[Any], Any]:
    """What keeps batches from going through all steps at once while a point of the other way is armed."""

    def change(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def run(*args: Any, **options: Any) -> Any:
            return None if any((folder / point).exists() for point in BY_STEPS) else real(*args, **options)

        return run

    return change


def dying(die: Callable[[], None], when: str) -> Callable[[Any], Any]:
    """What makes a function fatal."""

    def change(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def fatal(*args: Any, **options: Any) -> Any:
            if when == "before":
                die()
            result = real(*args, **options)
            nothing_claimed = real.__name__ == "claim" and result is None
            if when == "after" and not nothing_claimed:
                die()
            return result

        return fatal

    return change


def _die_once(marker: Path) -> None:
    with contextlib.suppress(FileExistsError):
        marker.open("x").close()
        os.kill(os.getpid(), signal.SIGKILL)


def _die_if_armed(point: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        point.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def poisonous(real: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a record that holds the word ``poison`` kill whoever reads it, each time."""

    def read(raw: bytes, **options: Any) -> Any:
        if b"poison" in raw:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(raw, **options)

    return read


def main() -> None:
    """Break what is to be broken, then become the command."""
    separator = sys.argv.index("--")
    faults = iter(sys.argv[1:separator])
    command = sys.argv[separator + 1 :]
    for fault in faults:
        if fault == "without":
            for module, name, change in GUARDS[next(faults)]:
                wrap(module, name, change)
        elif fault == "poison":
            wrap("pipeline.calls.normalize", "read_cdr", poisonous)
        elif fault == "armed":
            points = INGESTOR_POINTS if next(faults) == "ingestor" else WORKER_POINTS
            folder = Path(next(faults))
            if points is WORKER_POINTS:
                wrap(*WHOLE, one_by_one(folder))
            for point in points:
                module, name, when = POINTS[point]
                wrap(module, name, dying(functools.partial(_die_if_armed, folder / point), when))
        else:
            module, name, when = POINTS[next(faults)]
            wrap(module, name, dying(functools.partial(_die_once, Path(next(faults))), when))
    run_program(command)


if __name__ == "__main__":
    main()
