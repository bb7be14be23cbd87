"""The tasks of completeness: beat's tick goes to each dialler's own workers, which alone can reach its witnesses."""

from __future__ import annotations

import functools
import socket
import time
from datetime import UTC, datetime
from typing import Final

import redis
from kombu import Queue

from pipeline.celery import app, log, note, outages, task
from pipeline.completeness import turns, witnesses
from pipeline.completeness.compare import Pace, compare
from pipeline.completeness.readings import LEVEL, read_counters
from pipeline.dialler.cdr_list import CdrList
from pipeline.dialler.counters import DiallerCounters
from pipeline.dialler.listing_api import ListingApi
from pipeline.settings import current_settings
from pipeline.tasks.resources import engine

EXPIRES_SECONDS: Final = 50
"""A look that nobody has begun by then is dropped: the next one comes."""

SETTLE_SECONDS: Final = 1.0
"""How long a call may be on the list before it is counted."""

OFF: Final = "ENIGMA_COMPLETENESS is off"


@task("completeness.watch")
def watch() -> str:
    """Have each dialler's own workers look, unless they have not answered the last time."""
    with engine().begin() as connection:
        sources = turns.take_sources(connection, who=socket.gethostname())
    for source in sources:
        read.send(queue=completeness_queue(source), expires=EXPIRES_SECONDS)
        compare_calls.send(queue=completeness_queue(source), expires=EXPIRES_SECONDS)
    note(sources=sources, idle=True)
    return f"done: sent to the workers of {', '.join(sources) or 'no dialler'}"


def completeness_queue(source: str) -> Queue:
    """The queue that only workers of this dialler read; ours is declared in celeryconfig, others are like it."""
    ours = app.amqp.queues["completeness"]
    name = f"completeness.{source}"
    if ours.name == name:
        return ours
    return Queue(name, ours.exchange, routing_key=name, queue_arguments=ours.queue_arguments)


@task("completeness.read_counters")
def read() -> str:
    """Read the dialler's counters and compare them with what came."""
    settings = current_settings()
    source, now = settings.enigma_source, datetime.now(UTC)
    with engine().begin() as connection:
        turns.answered(connection, source, who=socket.gethostname())
        if settings.enigma_completeness == "off":
            witnesses.note(connection, source, LEVEL, "off", OFF, now=now)
            return f"done: {OFF}"
    try:
        done = read_counters(
            engine(), counters(), cdr_list(), source=source, now=now, settle=lambda: time.sleep(SETTLE_SECONDS)
        )
    except redis.RedisError as error:
        outages.away("dialler_redis", error)
        with engine().begin() as connection:
            witnesses.note(connection, source, LEVEL, "unknown", "the dialler's Redis is away or refuses us", now=now)
        return "waits: the dialler's Redis is away"
    outages.back("dialler_redis")
    if done.found:
        log.error("calls_missing", source=source, campaigns=done.found)
    note(campaigns=done.campaigns, found=done.found, idle=not done.found)
    return done.says or f"done: {done.campaigns} campaigns, {done.found} of them short of calls"


@task("completeness.compare")
def compare_calls() -> str:
    """Ask the dialler's API, a few requests at a time, about calls that did not come."""
    settings = current_settings()
    source, now = settings.enigma_source, datetime.now(UTC)
    if settings.enigma_completeness == "off":
        with engine().begin() as connection:
            for level in (2, 3):
                witnesses.note(connection, source, level, "off", OFF, now=now)
        return f"done: {OFF}"
    try:
        with ListingApi(settings.enigma_api_url, before=Pace().wait) as api:
            done = compare(engine(), api, cdr_list(), source=source, now=now)
    except redis.RedisError as error:
        outages.away("dialler_redis", error)
        return "waits: the dialler's Redis is away"
    if done.missing:
        log.error("calls_named_missing", source=source, calls=done.missing)
    asked = {"campaigns": done.campaigns, "contacts": done.contacts, "missing": done.missing}
    note(**asked, idle=not any(asked.values()))
    return done.says or f"done: {done.campaigns} campaigns, {done.contacts} contacts, {done.missing} calls missing"


@functools.cache
def counters() -> DiallerCounters:
    """This worker process's connection to the dialler's counters."""
    return DiallerCounters(current_settings().enigma_redis_url)


@functools.cache
def cdr_list() -> CdrList:
    """Its view of the dialler's list, from which it takes nothing."""
    settings = current_settings()
    owner = f"completeness on {socket.gethostname()}"
    return CdrList(settings.enigma_redis_url, settings.enigma_list, pop_end=settings.enigma_pop_end, owner=owner)
