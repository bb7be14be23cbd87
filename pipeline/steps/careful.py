"""Doing a batch that seems to kill its worker, a part at a time, until the record that does it is alone.

Before a part is taken in hand this is committed, so that a successor which finds it knows that the part killed its
worker. It takes up a smaller part of it; a part of one record that killed its worker is set aside, and the rest of the
batch goes on. Parts grow again after each one that went well, for most suspicions are wrong: a worker was killed from
outside, or a message was slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.storage.failures import Failure, resolve_retried, set_aside
from pipeline.storage.inbox import Span, first_record
from pipeline.storage.probes import Probe, delete_probe, read_probe, write_probe
from pipeline.storage.progress import UPSTREAM, mark_done, read_progress, step_held

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.storage.inbox import Batch
    from pipeline.storage.progress import Progress, Step

PARTS = 16
"""A suspected batch is first done in about this many parts."""

SHRINK = 8
"""How much smaller a part is taken up again after it killed its worker."""


def first_probe(records: int) -> Probe:
    """The first part of a batch.

    >>> first_probe(2_000).size, first_probe(1).size
    (125, 1)
    """
    return Probe(0, max(1, records // PARTS))


def after_success(probe: Probe) -> Probe:
    """The next part: twice as large, but no larger before the end of a part that killed its worker.

    >>> after_success(Probe(0, 125))
    Probe(place=125, size=250, until=0, deaths=0)
    >>> after_success(Probe(125, 15, until=140, deaths=1)).size, after_success(Probe(130, 7, until=140, deaths=1)).size
    (30, 3)
    """
    place = probe.place + probe.size
    size = probe.size * 2 if place >= probe.until else min(probe.size, probe.until - place)
    return probe._replace(place=place, size=size)


def after_death(probe: Probe) -> tuple[Probe, int | None]:
    """The next part to try after one that killed its worker, and the place of the record that is to blame, if known.

    >>> after_death(Probe(125, 250))
    (Probe(place=125, size=31, until=375, deaths=1), None)
    >>> after_death(Probe(130, 1, until=140, deaths=3))
    (Probe(place=131, size=1, until=140, deaths=4), 130)
    """
    deaths = probe.deaths + 1
    if probe.size == 1:
        return after_success(probe)._replace(deaths=deaths), probe.place
    return Probe(probe.place, max(1, probe.size // SHRINK), probe.place + probe.size, deaths), None


def run_carefully(
    engine: Engine,
    batch_id: int,
    step: Step,
    work: Callable[[Connection, Span], list[Failure]],
    *,
    resend_after_seconds: float,
) -> tuple[Progress | None, int]:
    """Do a step of a batch in parts; returns how far the batch is then, and how many records were set aside.

    The arguments are those of ``run_step``.
    """
    aside = 0
    with engine.connect() as connection, step_held(connection, batch_id, step):
        with connection.begin():
            progress = read_progress(connection, batch_id)
            if progress is None or step not in progress.undone or progress.undone & UPSTREAM[step]:
                return progress, 0
            batch = progress.batch
            probe, culprit = _resume(connection, batch, step)
            aside += culprit
        while probe.place < batch.records:
            with connection.begin():
                failures = work(connection, _span(batch, probe))
                set_aside(connection, batch.source, step, failures)
                probe = after_success(probe)
                write_probe(connection, batch_id, step, probe)
            aside += len(failures)
        with connection.begin():
            resolve_retried(connection, batch.span, step)
            delete_probe(connection, batch_id, step)
            progress = mark_done(connection, batch_id, step, resend_after_seconds=resend_after_seconds)
    return progress, aside


def _resume(connection: Connection, batch: Batch, step: Step) -> tuple[Probe, int]:
    """Where to go on, already written down, and how many records (none or one) were found out."""
    found = read_probe(connection, batch.batch_id, step)
    if found is None or found.place >= batch.records:
        probe, culprit = first_probe(batch.records) if found is None else found, None
    else:
        probe, culprit = after_death(found)
    if culprit is not None:
        reason = (
            f"its worker process died each time this record was in hand ({probe.deaths} deaths): out of memory, or a "
            "crash below Python; see the worker's log and the kernel's"
        )
        record_id = first_record(batch.batch_id) + culprit
        failure = Failure(record_id, "bug", reason, error_type="WorkerLost", again=False)
        set_aside(connection, batch.source, step, [failure])
    write_probe(connection, batch.batch_id, step, probe)
    return probe, culprit is not None


def _span(batch: Batch, probe: Probe) -> Span:
    first = first_record(batch.batch_id) + probe.place
    return Span(batch.source, first, first + probe.size - 1)
