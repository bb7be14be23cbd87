"""One step of one batch: lock, decide, write, commit. What may go wrong with a batch goes wrong here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.in_parts import run_carefully
from pipeline.batches.part_in_hand import read_part
from pipeline.batches.progress import lock_step, mark_done
from pipeline.batches.rules.steps import UPSTREAM
from pipeline.batches.set_aside import resolve_retried, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.batches.rules.steps import Progress, Step

SUSPICIOUS_RESENDS = 2
"""A batch sent again this often without moving may be killing its workers."""


class StepResult(NamedTuple):
    """How a step of a batch ended."""

    outcome: str
    """``done``, ``done before``, ``too early`` (an earlier step is undone) or ``no such batch``."""
    progress: Progress | None
    set_aside: int = 0

    def steps_after(self, step: Step) -> tuple[Step, ...]:
        """What to send now."""
        return () if self.progress is None else self.progress.steps_after(step)


def run_step(
    engine: Engine,
    batch_id: int,
    step: Step,
    work: Callable[[Connection, Span], list[Failure]],
    *,
    resend_after_seconds: float,
    worker_was_lost: bool = False,
) -> StepResult:
    """Do a step for whatever of a batch still needs it, in one transaction.

    It may run any number of times, at once or late: the lock lines the runs up, and a run looks only for what no run
    before it has done. When the batch may have killed a worker it is done in parts instead, see ``in_parts``.

    Args:
        engine: the database.
        batch_id: the batch, as a message named it.
        step: the step.
        work: does it, and returns the records to set aside.
        resend_after_seconds: when the next step's message may be taken for lost.
        worker_was_lost: this message has cost a worker process already.
    """
    with engine.begin() as connection:
        progress = lock_step(connection, batch_id, step)
        if progress is None:
            return StepResult("no such batch", None)
        if step not in progress.undone:
            return StepResult("done before", progress)
        if progress.undone & UPSTREAM[step]:
            return StepResult("too early", progress)
        if not (worker_was_lost or _suspicious(connection, progress, step)):
            failures = work(connection, progress.batch.span)
            set_aside(connection, progress.batch.source, step, failures)
            if progress.retrying:  # nobody can release one while the step is locked
                resolve_retried(connection, progress.batch.span, step)
            progress = mark_done(connection, batch_id, step, resend_after_seconds=resend_after_seconds)
            return StepResult("done", progress, len(failures))
    careful, aside = run_carefully(engine, batch_id, step, work, resend_after_seconds=resend_after_seconds)
    return StepResult("done carefully", careful, aside)


def _suspicious(connection: Connection, progress: Progress, step: Step) -> bool:
    if progress.resends >= SUSPICIOUS_RESENDS:
        return True
    return progress.resends > 0 and read_part(connection, progress.batch.batch_id, step) is not None
