"""The pipeline's own processes: workers, beat, the ingestors of other diallers; and what stopped an ingestor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import Verdict, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pipeline.instants import Clock
    from pipeline.monitoring.rules.signs import Sign

LATE_SECONDS: Final = 30.0
"""A sign of life older than this is none."""


class Standing(NamedTuple):
    """Why an ingestor claims nothing."""

    source: str
    kind: str
    reason: str
    stopped_at: datetime


class Waiting(NamedTuple):
    """Why all recordings of a dialler wait."""

    source: str
    kind: str
    reason: str
    since: datetime
    until: datetime


def judge_queues(needed: Sequence[str], workers: Mapping[str, Sequence[str]]) -> Iterator[Verdict]:
    """Whether some worker reads each queue.

    Args:
        needed: the queues.
        workers: the queues each worker that answered reads.
    """
    if not workers:
        yield problem(
            "workers",
            "none answers",
            "Start the worker and recordings processes; if they run, see that they have the same CELERY_BROKER_URL.",
        )
        return
    yield ok("workers", f"{len(workers)} answer: {', '.join(sorted(workers))}")
    for queue in needed:
        readers = sorted(name for name, queues in workers.items() if queue in queues)
        if readers:
            yield ok(f"queue {queue}", f"read by {', '.join(readers)}")
        else:
            yield problem(f"queue {queue}", "no worker reads it", _start(queue))


def _start(queue: str) -> str:
    source = queue.removeprefix("recordings.")
    if source != queue:
        return f"Start a recordings process with ENIGMA_SOURCE={source}. Recordings wait, and are given up in the end."
    return f"Start a worker with --queues …,{queue}; the Procfile's has all. Nothing is lost meanwhile."


def judge_reconciler(sign: Sign | None) -> Verdict:
    """Whether beat's ticks reach a worker: the reconciler says so every 15 seconds."""
    remedy = "Start beat, and a worker that reads the queue `pipeline`: its ticks go through one."
    if sign is None:
        return problem("beat", "the reconciler has never run", remedy)
    if sign.seconds_ago > LATE_SECONDS:
        return problem("beat", f"the reconciler last ran {sign.seconds_ago:.0f} s ago, on {sign.who}", remedy)
    return ok("beat", f"the reconciler ran {max(0.0, sign.seconds_ago):.0f} s ago")


def judge_other_ingestors(source: str, signs: Sequence[Sign]) -> Iterator[Verdict]:
    """Whether the other diallers' ingestors live, whose Redis is not looked at from here."""
    for sign in signs:
        if sign.source == source:
            continue
        check = f"ingestor {sign.source}"
        if sign.seconds_ago > LATE_SECONDS:
            yield warning(
                check,
                f"{sign.who} was last seen {sign.seconds_ago:.0f} s ago",
                f"Run `pipeline doctor` with the environment of {sign.source}, unless that dialler was taken down.",
            )
        else:
            yield ok(check, f"{sign.who} drains its list")


def judge_stops(stops: Sequence[Standing], clock: Clock) -> Iterator[Verdict]:
    """What stands against claiming; times are the clock's."""
    if not stops:
        yield ok("stops", "no ingestor is stopped")
    for stop in stops:
        yield problem(
            "stops",
            f"the ingestor of {stop.source} claims nothing since {clock.show(stop.stopped_at, seconds=False)}: "
            f"{stop.reason}",
            remedy_of(stop.kind, stop.source),
        )


def remedy_of(kind: str, source: str) -> str:
    """What to do about a stop of this kind of a dialler's ingestor; a command stands in backticks."""
    if kind == "conflicts":
        return (
            "Give the dialler a new ENIGMA_SOURCE: deploy/README.md, CdrIngestorStopped, has what to do with the rest."
        )
    return f"Mend it; when the list is right, `pipeline stops release --source {source}`."


def judge_pauses(pauses: Sequence[Waiting], clock: Clock) -> Iterator[Verdict]:
    """What stands against fetching recordings. It is tried again by itself, and calls are billed meanwhile."""
    if not pauses:
        yield ok("recordings", "no dialler's recordings are paused")
    for pause in pauses:
        judge = warning if pause.kind == "throttled" else problem
        yield judge(
            "recordings",
            f"those of {pause.source} wait since {clock.show(pause.since, seconds=False)}, the next try is at "
            f"{clock.show(pause.until)}: {pause.reason.rstrip('.')}",
            f"{PAUSED[pause.kind]} Then `pipeline recordings resume --source {pause.source}` tries all at once.",
        )


PAUSED: Final = {
    "refused": "Correct the user and password in ENIGMA_API_URL, or have the dialler let us in.",
    "throttled": "Lower RECORDINGS_RATE if it goes on.",
    "dialler_away": "Start the dialler's API, or correct ENIGMA_API_URL.",
    "store_away": "See the recordings store: it must be there, be writable and have room.",
}
