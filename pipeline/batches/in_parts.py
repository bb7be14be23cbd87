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

from pipeline.batches.isolation import bug, may_be_a_records
from pipeline.batches.part_in_hand import give_back, read_part, take_in_hand
from pipeline.batches.progress import mark_done, read_progress, step_held
from pipeline.batches.rules.batch import Span
from pipeline.batches.rules.failure import Failure
from pipeline.batches.rules.parts import Part, after_death, after_error, after_success, first_part
from pipeline.batches.rules.steps import UPSTREAM
from pipeline.batches.set_aside import resolve_retried, set_aside
from pipeline.record_ids import first_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Batch
    from pipeline.batches.rules.steps import Progress, Step


GIVE_BACK_AFTER_SECONDS = (0.0, 0.0, 0.5, 2.0)
"""The waits before each try to give a part back; the first may meet another connection that is broken too."""


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
            part, aside = hand.resume()
        while part.place < hand.batch.records:
            part, failed = hand.do_part(part, work)
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

    def resume(self) -> tuple[Part, int]:
        """Take up where to go on; returns that, and how many records (none or one) were found out."""
        found = read_part(self.connection, self.batch.batch_id, self.step)
        if found is None:
            return self._take(first_part(self.batch.records), ())
        if not found.lost or found.part.place >= self.batch.records:
            return self._take(found.part, ())
        part, culprit = after_death(found.part)
        if culprit is None:
            return self._take(part, ())
        reason = (
            f"its worker process died each time this record was in hand ({part.deaths} deaths): out of memory, or a "
            "crash below Python; see the worker's log and the kernel's"
        )
        record_id = first_record(self.batch.batch_id) + culprit
        return self._take(part, [Failure(record_id, "bug", reason, error_type="WorkerLost", again=False)])

    def do_part(self, part: Part, work: Callable[[Connection, Span], list[Failure]]) -> tuple[Part, int]:
        """Do the part in hand and take the next; returns that, and how many records were set aside."""
        first = first_record(self.batch.batch_id) + part.place
        try:
            with self.connection.begin():
                failures = work(self.connection, Span(self.batch.source, first, first + part.size - 1))
                return self._take(after_success(part), failures)
        except Exception as error:
            if not may_be_a_records(error):
                raise
            following, culprit = after_error(part)
            failures = [] if culprit is None else [bug(first, error)]
        with self.connection.begin():
            return self._take(following, failures)

    def _take(self, part: Part, failures: Sequence[Failure]) -> tuple[Part, int]:
        """Set aside what the part before left, and take the next in hand."""
        set_aside(self.connection, self.batch.source, self.step, failures)
        # No larger than what is left, so that a death says how many records were really in hand.
        part = part._replace(size=max(1, min(part.size, self.batch.records - part.place)))
        take_in_hand(self.connection, self.batch.batch_id, self.step, part, self.taking)
        return part, len(failures)
