"""One step of one batch: lock, decide, write, commit. What may go wrong with a batch goes wrong here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.storage.failures import resolve_retried, set_aside
from pipeline.storage.progress import UPSTREAM, lock_step, mark_done

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.storage.failures import Failure
    from pipeline.storage.inbox import Batch
    from pipeline.storage.progress import Progress, Step


class StepResult(NamedTuple):
    """How a step of a batch ended."""

    outcome: str
    """``done``, ``done before``, ``too early`` (an earlier step is undone) or ``no such batch``."""
    progress: Progress | None
    set_aside: int = 0

    def next_steps(self) -> tuple[Step, ...]:
        """What to send now."""
        return () if self.progress is None else self.progress.next_steps()


def run_step(
    engine: Engine,
    batch_id: int,
    step: Step,
    work: Callable[[Connection, Batch], list[Failure]],
    *,
    resend_after_seconds: float,
) -> StepResult:
    """Do a step for whatever of a batch still needs it, in one transaction.

    It may run any number of times, at once or late: the lock lines the runs up, and a run looks only for what no run
    before it has done.

    Args:
        engine: the database.
        batch_id: the batch, as a message named it.
        step: the step.
        work: does it, and returns the records to set aside.
        resend_after_seconds: when the next step's message may be taken for lost.
    """
    with engine.begin() as connection:
        progress = lock_step(connection, batch_id, step)
        if progress is None:
            return StepResult("no such batch", None)
        if step not in progress.undone:
            return StepResult("done before", progress)
        if progress.undone & UPSTREAM[step]:
            return StepResult("too early", progress)
        failures = work(connection, progress.batch)
        set_aside(connection, step, failures)
        resolve_retried(connection, batch_id, step)
        progress = mark_done(connection, batch_id, step, resend_after_seconds=resend_after_seconds)
    return StepResult("done", progress, len(failures))
