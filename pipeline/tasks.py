"""Every task and what follows what: the flow on one page.

A message names a batch (or a call's recording) whose row says what is to do; the steps do it, and the next message is
sent only after their commit. Whatever gets lost between is sent again by ``pipeline.reconcile``.
"""

from __future__ import annotations

import functools
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kombu import Queue

from pipeline.adapters.dialler_api import DiallerApi
from pipeline.adapters.recording_store import RecordingStore
from pipeline.celery import PipelineTask, app, log, note, task
from pipeline.domain.pace import Limits
from pipeline.domain.recording import RetryPolicy
from pipeline.monitoring import metrics
from pipeline.monitoring.counting import StepCount
from pipeline.monitoring.living import underway
from pipeline.settings import current_settings
from pipeline.steps import bill as billing
from pipeline.steps import bulk, recording_keeping
from pipeline.steps import classify as classification
from pipeline.steps import normalize as normalization
from pipeline.steps import reconcile as reconciliation
from pipeline.steps import recordings as recording_steps
from pipeline.steps.run import run_step
from pipeline.steps.tariffs import TariffCache
from pipeline.storage.database import make_engine
from pipeline.storage.heartbeats import KEEPER, beat, take_sources_to_keep
from pipeline.storage.inbox import Batch
from pipeline.storage.progress import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.storage.failures import Failure
    from pipeline.storage.inbox import Span
    from pipeline.storage.progress import Progress

RESEND_AFTER_SECONDS = 10.0
"""How long a batch may stand still before its message counts as lost."""

RESENT_AT_ONCE = 100

BULK_SECONDS = 5.0
"""How long one task retries or discards before it lets others have the worker; less than ``RESEND_AFTER_SECONDS``."""

KEEPING_EXPIRES_SECONDS = 1800
"""The hourly cleaning up is dropped when it was not begun by then."""


@task("cdr.normalize")
def normalize(batch_id: int, source: str, records: int) -> str:
    """Raw records become calls."""
    settings = current_settings()

    def work(connection: Connection, span: Span) -> list[Failure]:
        return normalization.normalize(connection, span, region=settings.pipeline_region, now=datetime.now(tz=UTC))

    return walk(Step.NORMALIZE, Batch(batch_id, source, records), work)


@task("cdr.classify")
def classify(batch_id: int, source: str, records: int) -> str:
    """Calls get their disposition."""
    return walk(Step.CLASSIFY, Batch(batch_id, source, records), classification.classify)


@task("cdr.bill")
def bill(batch_id: int, source: str, records: int) -> str:
    """Calls get their charge."""

    def work(connection: Connection, span: Span) -> list[Failure]:
        return billing.bill(connection, span, tariff_cache())

    return walk(Step.BILL, Batch(batch_id, source, records), work)


@task("cdr.schedule_recordings")
def schedule_recordings(batch_id: int, source: str, records: int) -> str:
    """Calls that can have audio get a row that says when to ask for it."""
    delay_seconds = current_settings().recordings_delay_seconds

    def work(connection: Connection, span: Span) -> list[Failure]:
        recording_steps.schedule(connection, span, delay_seconds=delay_seconds)
        return []

    return walk(Step.SCHEDULE_RECORDINGS, Batch(batch_id, source, records), work)


TASKS: dict[Step, PipelineTask] = {
    Step.NORMALIZE: normalize,
    Step.CLASSIFY: classify,
    Step.BILL: bill,
    Step.SCHEDULE_RECORDINGS: schedule_recordings,
}


def walk(step: Step, batch: Batch, work: Callable[[Connection, Span], list[Failure]]) -> str:
    """Do one step of a batch, then send what follows."""
    counted = StepCount(step)
    result = run_step(
        engine(),
        batch.batch_id,
        step,
        counted.around(work),
        resend_after_seconds=RESEND_AFTER_SECONDS,
        worker_was_lost=TASKS[step].request.retries > 0,
    )
    if result.progress is not None:
        for following in result.steps_after(step):
            send_step(following, result.progress.batch)
    counted.done(result, engine())
    note(set_aside=result.set_aside)
    if result.progress is None:
        return result.outcome
    stored = result.progress.batch  # not what the message says of it
    aside = f", {result.set_aside} set aside" if result.set_aside else ""
    return f"{result.outcome}: {stored.records} records of {stored.source}{aside}"


def send_step(step: Step, batch: Batch) -> bool:
    """Send a step's message; False when the broker is away, and then the reconciler sends it later."""
    return TASKS[step].send(**batch._asdict())


@task("pipeline.reconcile")
def reconcile() -> str:
    """Send again what stands still, and release failures whose next try is due."""
    due = reconciliation.reconcile(
        engine(),
        limit=RESENT_AT_ONCE,
        resend_after_seconds=RESEND_AFTER_SECONDS,
        who=socket.gethostname(),
        send=resend,
    )
    metrics.count(metrics.RELEASED, due.released)
    note(resent=len(due.overdue), released=due.released, idle=not due.overdue and not due.released)
    for bulk_id in due.bulk_actions:
        act_in_bulk.send(bulk_id=bulk_id)
    return f"done: {len(due.overdue)} batches sent again, {due.released} failures released"


def resend(progress: Progress) -> None:
    """Send what a batch that stands still waits for."""
    metrics.count(metrics.RESENT, source=progress.batch.source)
    for step in progress.next_steps():
        send_step(step, progress.batch)


@task("pipeline.act_in_bulk")
def act_in_bulk(bulk_id: int) -> str:
    """Retry or discard every failure that a person chose by a filter; what is left at the end goes on as a new task."""
    result = bulk.run_bulk(engine(), bulk_id, seconds=BULK_SECONDS)
    if not result.ended and result.done:  # else something holds it up, and the reconciler comes back to it
        act_in_bulk.send(bulk_id=bulk_id)
    note(failures=result.done)
    return f"{'done' if result.ended else 'goes on'}: {result.done} failures"


@task("recordings.dispatch")
def dispatch_recordings() -> str:
    """Send downloads for what is due, as many as each dialler's limits allow."""
    sent = send_downloads()
    note(sent=sent, idle=not sent)
    return f"done: {sent} downloads sent"


@task("recordings.download")
def download_recording(call_id: int, source: str, call_ref: str, dispatched_at: str) -> str:  # noqa: ARG001 - two are for whoever reads Flower
    """Fetch one call's recording and store it, then send what has room now."""
    own = current_settings().enigma_source  # this queue is our dialler's, whatever the message says
    with underway() as moved:
        outcome = recording_steps.download(
            engine(),
            call_id,
            api=dialler_api(),
            store=recording_store(),
            policy=recording_policy(),
            dispatched_at=datetime.fromisoformat(dispatched_at),
            moved=moved,
        )
    metrics.count(metrics.RECORDING_TRIES, source=own, state=outcome.state.value if outcome.state else "none")
    note(state=outcome.state.value if outcome.state else None, size_bytes=outcome.size_bytes)
    if outcome.pause_began:
        pause = outcome.pause_began
        log.error("recordings_paused", source=own, kind=pause.kind, reason=pause.reason, until=pause.until.isoformat())
    if outcome.pause_ended:
        pause = outcome.pause_ended
        log.warning("recordings_resumed", source=own, kind=pause.kind, since=pause.since.isoformat())
    send_downloads(own)
    return str(outcome)


def send_downloads(source: str | None = None) -> int:
    """Send a message for each recording that may be downloaded now; returns how many."""
    settings = current_settings()
    limits = Limits(settings.recordings_concurrency, settings.recordings_rate)
    due = recording_steps.dispatch(engine(), limits=limits, source=source)
    for sent, recording in enumerate(due):
        message = recording._asdict() | {"dispatched_at": recording.dispatched_at.isoformat()}
        if not download_recording.send(queue=recordings_queue(recording.source), **message):
            recording_steps.give_back(engine(), due[sent:])
            return sent
    return len(due)


def recordings_queue(source: str) -> Queue:
    """The queue that only workers of this dialler read; ours is declared in celeryconfig, others are like it."""
    ours = app.amqp.queues["recordings"]
    name = f"recordings.{source}"
    if ours.name == name:
        return ours
    return Queue(name, ours.exchange, routing_key=name, queue_arguments=ours.queue_arguments)


@task("recordings.keep")
def keep_recordings() -> str:
    """Have each dialler's own workers clean up: only they have its store."""
    with engine().begin() as connection:
        sources = take_sources_to_keep(connection, who=socket.gethostname())
    for source in sources:
        for each in (expire_stored, clean_partials):
            each.send(queue=recordings_queue(source), expires=KEEPING_EXPIRES_SECONDS)
    note(sources=sources)
    return f"done: sent to the workers of {', '.join(sources) or 'no dialler'}"


@task("recordings.expire_stored")
def expire_stored() -> str:
    """Delete this dialler's stored recordings past their retention, unless they are held."""
    settings = current_settings()
    days = settings.recordings_retention_days
    if days is None:
        kept()
        return "done: recordings are kept for ever"
    done = recording_keeping.expire(engine(), recording_store(), older_than_days=days, source=settings.enigma_source)
    kept()
    note(deleted=done.deleted, undeleted=done.undeleted)
    if done.undeleted:
        log.error("recordings_not_deleted", source=settings.enigma_source, files=done.undeleted, example=done.example)
    aside = f", {done.undeleted} could not be: {done.example}" if done.undeleted else ""
    return f"done: {done.deleted} recordings deleted that are older than {days} days{aside}"


@task("recordings.clean_partials")
def clean_partials() -> str:
    """Remove the partial files of downloads that crashed."""
    return f"done: {recording_store().clean_partials()} partial files removed"


def kept() -> None:
    """This dialler's recordings were looked after."""
    with engine().begin() as connection:
        beat(connection, KEEPER, current_settings().enigma_source, who=socket.gethostname())


@functools.cache
def engine() -> Engine:
    """This worker process's connections; opened at the first task, hence after the fork, and one a thread at most."""
    settings = current_settings()
    return make_engine(
        settings.database_url, application="cdr-worker", pool_size=min(max(2, settings.recordings_concurrency), 16)
    )


@functools.cache
def tariff_cache() -> TariffCache:
    """The tariffs this worker process has read."""
    return TariffCache(timezone=current_settings().pipeline_timezone)


@functools.cache
def dialler_api() -> DiallerApi:
    """This worker process's connections to the dialler's API."""
    settings = current_settings()
    return DiallerApi(
        settings.enigma_api_url, source=settings.enigma_source, connections=settings.recordings_concurrency
    )


@functools.cache
def recording_store() -> RecordingStore:
    """Where recordings go."""
    settings = current_settings()
    return RecordingStore(
        settings.recordings_url, settings.recordings_path, storage_options=settings.recordings_storage_options
    )


@functools.cache
def recording_policy() -> RetryPolicy:
    """How long recordings wait between tries."""
    settings = current_settings()
    first = settings.recordings_retry_seconds
    return RetryPolicy(first_seconds=first, give_up_after_seconds=settings.recordings_give_up_hours * 3_600)
