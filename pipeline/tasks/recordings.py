"""The tasks of recordings: send what is due, download, keep."""

from __future__ import annotations

import functools
import socket
from datetime import datetime
from typing import TYPE_CHECKING

from kombu import Queue

from pipeline.celery import app, log, note, task
from pipeline.database.engine import reading
from pipeline.dialler.http_api import DiallerApi
from pipeline.keeping.policies import recording_ages
from pipeline.monitoring import metrics
from pipeline.monitoring.heartbeats import beat
from pipeline.recordings import download as recording_steps
from pipeline.recordings import retention as recording_keeping
from pipeline.recordings.keepers import KEEPER, take_sources_to_keep
from pipeline.recordings.key_destroying import remove_left
from pipeline.recordings.rules.ages import shortest
from pipeline.recordings.rules.outcome import RecordingState, RetryPolicy
from pipeline.recordings.rules.pace import Limits
from pipeline.settings import current_settings, recording_keys
from pipeline.settings import recording_store as store_from
from pipeline.tasks.due import recording_due
from pipeline.tasks.feed import wake_feed
from pipeline.tasks.resources import engine
from pipeline.worker.liveness import underway

if TYPE_CHECKING:
    from pipeline.recordings.file_store import RecordingStore

KEEPING_EXPIRES_SECONDS = 1800
"""The hourly cleaning up is dropped when it was not begun by then."""


@task("recordings.dispatch", only_when=recording_due)
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
    if metrics.serving() and (free := recording_store().free_share()) is not None:
        metrics.gauge(metrics.STORE_FREE, free, source=own)
    note(state=outcome.state.value if outcome.state else None, size_bytes=outcome.size_bytes)
    if outcome.pause_began:
        pause = outcome.pause_began
        log.error("recordings_paused", source=own, kind=pause.kind, reason=pause.reason, until=pause.until.isoformat())
    if outcome.pause_ended:
        pause = outcome.pause_ended
        log.warning("recordings_resumed", source=own, kind=pause.kind, since=pause.since.isoformat())
    if outcome.state is not None and outcome.state is not RecordingState.SCHEDULED:
        wake_feed()
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
    ages_of = functools.partial(recording_ages, default_days=settings.recordings_retention_days)
    with reading(engine()) as connection:
        ages = ages_of(connection)
    if shortest(ages) is None:
        kept()
        return "done: recordings are kept for ever"
    done = recording_keeping.expire(engine(), recording_store(), ages_of, source=settings.enigma_source)
    kept()
    note(deleted=done.deleted, undeleted=done.undeleted)
    if done.undeleted:
        log.error("recordings_not_deleted", source=settings.enigma_source, files=done.undeleted, example=done.example)
    aside = f", {done.undeleted} could not be: {done.example}" if done.undeleted else ""
    return f"done: {done.deleted} recordings deleted that are past their retention{aside}"


@task("recordings.clean_partials")
def clean_partials() -> str:
    """Remove what nobody can use: partial files of downloads that crashed, and files whose key was destroyed."""
    settings = current_settings()
    partials, keys, unreadable = recording_store().clean_partials(), recording_keys(settings), 0
    if keys is not None:
        unreadable = remove_left(engine(), recording_store(), keys, settings.enigma_source)
    note(partials=partials, unreadable=unreadable)
    aside = f", {unreadable} files whose key was destroyed" if unreadable else ""
    return f"done: {partials} partial files removed{aside}"


def kept() -> None:
    """This dialler's recordings were looked after."""
    with engine().begin() as connection:
        beat(connection, KEEPER, current_settings().enigma_source, who=socket.gethostname())


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
    return store_from(current_settings())


@functools.cache
def recording_policy() -> RetryPolicy:
    """How long recordings wait between tries."""
    settings = current_settings()
    first = settings.recordings_retry_seconds
    return RetryPolicy(first_seconds=first, give_up_after_seconds=settings.recordings_give_up_hours * 3_600)
