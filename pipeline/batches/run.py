"""One step of one batch: lock, decide, write, commit. What may go wrong with a batch goes wrong here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.in_parts import run_carefully
from pipeline.batches.isolation import may_be_a_records
from pipeline.batches.part_in_hand import read_part
from pipeline.batches.progress import lock_all_steps, lock_step, mark_all_done, mark_done
from pipeline.batches.rules.steps import UPSTREAM, Step
from pipeline.batches.set_aside import resolve_retried, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Batch, Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.batches.rules.steps import Progress

    Work = Callable[[Connection, Span], list[Failure]]
    """What a step does with some records; it returns those to set aside."""

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
    work: Work,
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


class StepDone(NamedTuple):
    """One step of a batch that went through all of them at once."""

    seconds: float
    set_aside: int


def run_all_steps(
    engine: Engine,
    batch_id: int,
    works: Callable[[Batch], Mapping[Step, Work]],
    *,
    at_most: int,
    few: bool = False,
    resend_after_seconds: float,
) -> tuple[Progress, dict[Step, StepDone]] | None:
    """Take a batch through all its steps in one transaction.

    What a few records cost is their messages and commits, so they share them; and what a step has just written, no
    other need read. Only a batch that has nothing behind it yet: no step done, never sent again, nothing of it released
    to be tried again. All else goes step by step, and so does a batch with an error in it: the step that has it then
    shows it under its own name.

    Args:
        engine: the database.
        batch_id: the batch, as a message named it.
        works: what each step does with the batch as it is stored, in the order of the flow.
        at_most: the most records of such a batch.
        few: whether its records are so few that no statement is planned for them alone, see ``lock_all_steps``.
        resend_after_seconds: when the batch may be taken for lost.

    Returns:
        How far the batch is, and how each step went; None where nothing was done.
    """
    try:
        with engine.begin() as connection:
            progress = lock_all_steps(connection, batch_id, few=few)
            if progress is None or not _untouched(progress) or progress.batch.records > at_most:
                return None
            ended = {step: _do(connection, progress, step, work) for step, work in works(progress.batch).items()}
            return mark_all_done(connection, batch_id, resend_after_seconds=resend_after_seconds), ended
    except Exception as error:
        if not may_be_a_records(error):
            raise
        return None


def _untouched(progress: Progress) -> bool:
    return progress.undone == frozenset(Step) and not progress.resends and not progress.retrying


def _do(connection: Connection, progress: Progress, step: Step, work: Work) -> StepDone:
    began = time.perf_counter()
    failures = work(connection, progress.batch.span)
    set_aside(connection, progress.batch.source, step, failures)
    return StepDone(time.perf_counter() - began, len(failures))


def _suspicious(connection: Connection, progress: Progress, step: Step) -> bool:
    if progress.resends >= SUSPICIOUS_RESENDS:
        return True
    return progress.resends > 0 and read_part(connection, progress.batch.batch_id, step) is not None
