"""Every task and what follows what: the flow on one page.

A message names a batch (or a call's recording) whose row says what is to do; the steps do it, and the next message is
sent only after their commit. Whatever gets lost between is sent again by ``pipeline.reconcile``.
"""

from __future__ import annotations

import functools
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pipeline.batches import reconcile as reconciliation
from pipeline.batches.counting import StepCount
from pipeline.batches.rules.batch import Batch
from pipeline.batches.rules.steps import RESEND_AFTER_SECONDS, TASK, Step
from pipeline.batches.run import StepResult, run_all_steps, run_step
from pipeline.billing import bill as billing
from pipeline.billing.tariff_cache import TariffCache
from pipeline.calls import classify as classification
from pipeline.calls import normalize as normalization
from pipeline.calls.in_hand import InHand
from pipeline.celery import PipelineTask, note, task
from pipeline.contacts import update as contacts
from pipeline.failures import bulk
from pipeline.monitoring import metrics
from pipeline.recordings import download as recording_steps
from pipeline.recordings.scheduling import schedule
from pipeline.settings import current_settings
from pipeline.tasks.due import anything_due
from pipeline.tasks.failures import act_in_bulk
from pipeline.tasks.feed import look_after_feed, wake_feed
from pipeline.tasks.recordings import dispatch_recordings
from pipeline.tasks.resources import engine
from pipeline.worker.walked import Walked, say_walked

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.batches.rules.steps import Progress
    from pipeline.batches.run import Work


RESENT_AT_ONCE = 100

WHOLE_RECORDS = 5_000
"""The most records of a batch that goes through all its steps in one task; a larger one would be too long about it."""

FEW_RECORDS = 500
"""The most records of a batch for which planning a statement anew costs the server more than a better plan spares."""

TASKS: dict[Step, PipelineTask] = {}
"""The task of each step, as they are declared below."""


def task_of(step: Step) -> Callable[[Callable[..., str]], PipelineTask]:
    """Declare the task of a step, by the name that the table of steps gives it."""

    def declare(run: Callable[..., str]) -> PipelineTask:
        TASKS[step] = task(TASK[step])(run)
        return TASKS[step]

    return declare


@task_of(Step.NORMALIZE)
def normalize(batch_id: int, source: str, records: int) -> str:
    """Raw records become calls; a batch of the usual size goes on through all its steps."""
    batch = Batch(batch_id, source, records)
    whole = walk_whole(batch) if records <= WHOLE_RECORDS and not _worker_was_lost(Step.NORMALIZE) else None
    return whole or walk(Step.NORMALIZE, batch)


@task_of(Step.CLASSIFY)
def classify(batch_id: int, source: str, records: int) -> str:
    """Calls get their disposition."""
    return walk(Step.CLASSIFY, Batch(batch_id, source, records))


@task_of(Step.BILL)
def bill(batch_id: int, source: str, records: int) -> str:
    """Calls get their charge."""
    return walk(Step.BILL, Batch(batch_id, source, records))


@task_of(Step.SCHEDULE_RECORDINGS)
def schedule_recordings(batch_id: int, source: str, records: int) -> str:
    """Calls that can have audio get a row that says when to ask for it."""
    return walk(Step.SCHEDULE_RECORDINGS, Batch(batch_id, source, records))


@task_of(Step.UPDATE_CONTACTS)
def update_contacts(batch_id: int, source: str, records: int) -> str:
    """Contacts come to what all of their calls come to."""
    return walk(Step.UPDATE_CONTACTS, Batch(batch_id, source, records))


def _normalize(connection: Connection, span: Span, *, in_hand: InHand | None = None) -> list[Failure]:
    settings = current_settings()
    return normalization.normalize(
        connection,
        span,
        region=settings.pipeline_region,
        now=datetime.now(tz=UTC),
        erasure_key=settings.erasure_key.get_secret_value(),
        in_hand=in_hand,
    )


def _bill(connection: Connection, span: Span, *, in_hand: InHand | None = None) -> list[Failure]:
    return billing.bill(connection, span, tariff_cache(), in_hand=in_hand)


def _schedule_recordings(connection: Connection, span: Span, *, in_hand: InHand | None = None) -> list[Failure]:
    delay = current_settings().recordings_delay_seconds
    schedule(connection, span, delay_seconds=delay, in_hand=in_hand)
    return []


def _update_contacts(connection: Connection, span: Span) -> list[Failure]:
    for kind, calls in contacts.update_contacts(connection, span)._asdict().items():
        metrics.count(metrics.WITHOUT_CONTACT, calls, source=span.source, kind=kind)
    return []


WORKS: Final[dict[Step, Work]] = {
    Step.NORMALIZE: _normalize,
    Step.CLASSIFY: classification.classify,
    Step.BILL: _bill,
    Step.SCHEDULE_RECORDINGS: _schedule_recordings,
    Step.UPDATE_CONTACTS: _update_contacts,
}
"""What each step does with some records of a batch."""


def works_of(batch: Batch) -> dict[Step, Work]:
    """The same of a batch that goes through all steps in one transaction, where they hand each other its calls."""
    in_hand = InHand(batch.records)
    handing: dict[Step, Work] = {
        Step.NORMALIZE: functools.partial(_normalize, in_hand=in_hand),
        Step.CLASSIFY: functools.partial(classification.classify, in_hand=in_hand),
        Step.BILL: functools.partial(_bill, in_hand=in_hand),
        Step.SCHEDULE_RECORDINGS: functools.partial(_schedule_recordings, in_hand=in_hand),
    }
    return WORKS | handing


def walk(step: Step, batch: Batch) -> str:
    """Do one step of a batch, then send what follows."""
    counted = StepCount(step)
    result = run_step(
        engine(),
        batch.batch_id,
        step,
        counted.around(WORKS[step]),
        resend_after_seconds=RESEND_AFTER_SECONDS,
        worker_was_lost=_worker_was_lost(step),
    )
    if result.progress is not None:
        for following in result.steps_after(step):
            send_step(following, result.progress.batch)
        if step is Step.NORMALIZE or not result.progress.undone:
            wake_feed(records=result.progress.batch.records)
    counted.done(result, engine())
    note(set_aside=result.set_aside)
    if result.progress is None:
        return result.outcome
    return ended(result.outcome, result.progress.batch, result.set_aside)


def walk_whole(batch: Batch) -> str | None:
    """Do all steps of a batch at once; None when it has to go step by step, and then nothing was done."""
    counts = {step: StepCount(step) for step in WORKS}
    done = run_all_steps(
        engine(),
        batch.batch_id,
        lambda stored: {step: counts[step].around(work) for step, work in works_of(stored).items()},
        at_most=WHOLE_RECORDS,
        few=batch.records <= FEW_RECORDS,
        resend_after_seconds=RESEND_AFTER_SECONDS,
    )
    if done is None:
        return None
    progress, steps = done
    wake_feed(records=progress.batch.records)
    first, *others = steps.items()
    for step, (seconds, aside) in steps.items():
        counts[step].done(StepResult("done", progress, aside), engine(), seconds=seconds)
    for step, (seconds, aside) in others:
        outcome = ended("done", progress.batch, aside)
        TASKS[step].ended_within(TASKS[first[0]].request.id, seconds, set_aside=aside, outcome=outcome)
    note(set_aside=first[1].set_aside)
    walked = [Walked(TASK[step], *did) for step, did in others]
    return f"{ended('done', progress.batch, first[1].set_aside)}; {say_walked(walked)}"


def ended(outcome: str, stored: Batch, set_aside: int) -> str:
    """The sentence that a task ends with, for Flower; of the batch as it is stored, not as the message has it."""
    aside = f", {set_aside} set aside" if set_aside else ""
    return f"{outcome}: {stored.records} records of {stored.source}{aside}"


def _worker_was_lost(step: Step) -> bool:
    return bool(TASKS[step].request.retries > 0)


def send_step(step: Step, batch: Batch, *, told: bool = True) -> bool:
    """Send a step's message; False when the broker is away, and then the reconciler sends it later.

    Args:
        step: the step.
        batch: the batch.
        told: whether Flower is told that it was sent; whoever begins it tells of it too.
    """
    return TASKS[step].send(told=told, **batch._asdict())


@task("pipeline.reconcile", only_when=anything_due)
def reconcile() -> str:
    """Send again what stands still, release failures whose next try is due, and wake whatever else is."""
    due = reconciliation.reconcile(
        engine(),
        limit=RESENT_AT_ONCE,
        resend_after_seconds=RESEND_AFTER_SECONDS,
        who=socket.gethostname(),
        send=resend,
    )
    metrics.count(metrics.RELEASED, due.released)
    note(resent=len(due.overdue), released=due.released, idle=not due.overdue and not due.released)
    for bulk_id in bulk.standing(engine(), after_seconds=RESEND_AFTER_SECONDS):
        act_in_bulk.send(bulk_id=bulk_id)
    look_after_feed()
    if recording_steps.sources_with_due(engine()):
        dispatch_recordings.send()
    return f"done: {len(due.overdue)} batches sent again, {due.released} failures released"


def resend(progress: Progress) -> None:
    """Send what a batch that stands still waits for."""
    metrics.count(metrics.RESENT, source=progress.batch.source)
    for step in progress.next_steps():
        send_step(step, progress.batch)


@functools.cache
def tariff_cache() -> TariffCache:
    """The tariffs this worker process has read."""
    return TariffCache(timezone=current_settings().pipeline_timezone)
