"""Doing a batch that seems to kill its worker, a part at a time, until the record that does it is alone.

Before a part is taken in hand this is committed, so that a successor which finds it in hand knows that a process was
lost with it. It takes up a smaller part; a part of one record that twice in a row was the last thing a process did is
set aside, and the rest of the batch goes on. Parts grow again after each one that went well, for most suspicions are
wrong: a worker was killed from outside, or a message was slow.

Whatever ends a part but the end of its process gives the part back: an error is no death. One that a record may be to
blame for makes the part smaller at once, until the record is alone and is set aside with the error's traceback.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from pipeline.steps.isolation import bug, may_be_a_records
from pipeline.storage.failures import Failure, resolve_retried, set_aside
from pipeline.storage.inbox import Span, first_record
from pipeline.storage.probes import Probe, give_back, read_probe, take_in_hand
from pipeline.storage.progress import UPSTREAM, mark_done, read_progress, step_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.storage.inbox import Batch
    from pipeline.storage.progress import Progress, Step

PARTS = 16
"""A suspected batch is first done in about this many parts."""

SMALLEST_FIRST = 32
"""The first part of a batch holds at least so many records: a smaller batch begins as one part."""

SHRINK = 8
"""How much smaller a part is taken up again after it killed its worker."""

DEATHS_ALONE = 2
"""So many processes in a row must be lost with a record alone in hand; one may have been killed from outside."""

GIVE_BACK_AFTER_SECONDS = (0.0, 0.0, 0.5, 2.0)
"""The waits before each try to give a part back; the first may meet another connection that is broken too."""


def first_probe(records: int) -> Probe:
    """The first part of a batch.

    >>> first_probe(2_000).size, first_probe(200).size, first_probe(1).size
    (125, 32, 1)
    """
    return Probe(0, min(records, max(SMALLEST_FIRST, records // PARTS)))


def after_success(probe: Probe) -> Probe:
    """The next part: twice as large, but no larger before the end of a part that killed its worker.

    >>> after_success(Probe(0, 125))
    Probe(place=125, size=250, until=0, deaths=0, alone=0)
    >>> after_success(Probe(125, 15, until=140, deaths=1)).size, after_success(Probe(130, 7, until=140, deaths=1)).size
    (30, 3)
    """
    place = probe.place + probe.size
    size = probe.size * 2 if place >= probe.until else min(probe.size, probe.until - place)
    return probe._replace(place=place, size=size, alone=0)


def after_error(probe: Probe) -> tuple[Probe, int | None]:
    """The next part to try after one that ended in an error, and the place of the record that is to blame, if known.

    >>> after_error(Probe(125, 250))
    (Probe(place=125, size=31, until=375, deaths=0, alone=0), None)
    >>> after_error(Probe(130, 1, until=140))
    (Probe(place=131, size=1, until=140, deaths=0, alone=0), 130)
    """
    if probe.size == 1:
        return after_success(probe)._replace(size=1), probe.place
    until = probe.place + probe.size
    return probe._replace(size=max(1, probe.size // SHRINK), until=until, alone=0), None


def after_death(probe: Probe) -> tuple[Probe, int | None]:
    """The next part to try after one that killed its worker, and the place of the record that is to blame, if known.

    >>> after_death(Probe(125, 250))
    (Probe(place=125, size=31, until=375, deaths=1, alone=0), None)
    >>> after_death(Probe(130, 1, until=140, deaths=3))
    (Probe(place=130, size=1, until=140, deaths=4, alone=1), None)
    >>> after_death(Probe(130, 1, until=140, deaths=4, alone=1))
    (Probe(place=131, size=1, until=140, deaths=5, alone=0), 130)
    """
    probe = probe._replace(deaths=probe.deaths + 1)
    if probe.size == 1 and probe.alone + 1 < DEATHS_ALONE:
        return probe._replace(alone=probe.alone + 1), None
    return after_error(probe)


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
    taking = uuid.uuid4()
    with (
        engine.connect() as connection,
        step_held(connection, batch_id, step),
        _given_back(engine, batch_id, step, taking),
    ):
        with connection.begin():
            progress = read_progress(connection, batch_id)
            if progress is None or step not in progress.undone or progress.undone & UPSTREAM[step]:
                return progress, 0
            hand = _Hand(connection, progress.batch, step, taking)
            probe, aside = hand.resume()
        while probe.place < hand.batch.records:
            probe, failed = hand.do_part(probe, work)
            aside += failed
        with connection.begin():
            resolve_retried(connection, hand.batch.span, step)
            progress = mark_done(connection, batch_id, step, resend_after_seconds=resend_after_seconds)
    return progress, aside


@contextlib.contextmanager
def _given_back(engine: Engine, batch_id: int, step: Step, taking: uuid.UUID) -> Iterator[None]:
    """Whoever lives to see what ended a part gives it back; only a process that is gone does not."""
    try:
        yield
    except (Exception, SystemExit, KeyboardInterrupt):
        for seconds in GIVE_BACK_AFTER_SECONDS:
            time.sleep(seconds)
            # Over another connection: this one may be what is broken.
            with contextlib.suppress(SQLAlchemyError), engine.begin() as connection:
                give_back(connection, batch_id, step, taking)
                break
        raise


class _Hand(NamedTuple):
    """What holds a step of a batch and takes one part of it after the other."""

    connection: Connection
    batch: Batch
    step: Step
    taking: uuid.UUID

    def resume(self) -> tuple[Probe, int]:
        """Take up where to go on; returns that, and how many records (none or one) were found out."""
        found = read_probe(self.connection, self.batch.batch_id, self.step)
        if found is None:
            return self._take(first_probe(self.batch.records), ())
        if not found.lost or found.probe.place >= self.batch.records:
            return self._take(found.probe, ())
        probe, culprit = after_death(found.probe)
        if culprit is None:
            return self._take(probe, ())
        reason = (
            f"its worker process died each time this record was in hand ({probe.deaths} deaths): out of memory, or a "
            "crash below Python; see the worker's log and the kernel's"
        )
        record_id = first_record(self.batch.batch_id) + culprit
        return self._take(probe, [Failure(record_id, "bug", reason, error_type="WorkerLost", again=False)])

    def do_part(self, probe: Probe, work: Callable[[Connection, Span], list[Failure]]) -> tuple[Probe, int]:
        """Do the part in hand and take the next; returns that, and how many records were set aside."""
        first = first_record(self.batch.batch_id) + probe.place
        try:
            with self.connection.begin():
                failures = work(self.connection, Span(self.batch.source, first, first + probe.size - 1))
                return self._take(after_success(probe), failures)
        except Exception as error:
            if not may_be_a_records(error):
                raise
            following, culprit = after_error(probe)
            failures = [] if culprit is None else [bug(first, error)]
        with self.connection.begin():
            return self._take(following, failures)

    def _take(self, probe: Probe, failures: Sequence[Failure]) -> tuple[Probe, int]:
        """Set aside what the part before left, and take the next in hand."""
        set_aside(self.connection, self.batch.source, self.step, failures)
        # No larger than what is left, so that a death says how many records were really in hand.
        probe = probe._replace(size=max(1, min(probe.size, self.batch.records - probe.place)))
        take_in_hand(self.connection, self.batch.batch_id, self.step, probe, self.taking)
        return probe, len(failures)
