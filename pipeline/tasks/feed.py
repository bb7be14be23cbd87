"""The tasks of the feed: positions for what happened, and bringing it to each subscriber.

State is rows, so a message that gets lost costs delay only: the reconciler's tick does the same.
"""

from __future__ import annotations

import functools
import time
from typing import Final

from pipeline.celery import log, note, task
from pipeline.database.engine import reading
from pipeline.feed import cursors
from pipeline.feed import deliver as delivering
from pipeline.feed.retention import drop_old, expire
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
from pipeline.monitoring import metrics
from pipeline.settings import current_settings, sinks_know
from pipeline.tasks.resources import engine

DELIVER_SECONDS: Final = 5.0
"""How long one task delivers to one subscriber before it lets others have the slot."""

WAKE_EXPIRES_SECONDS: Final = 60
"""A message that no feed process has begun by then is dropped: the reconciler sends others."""

LOOK_AGAIN_SECONDS: Final = 2.0
"""How long a process remembers whether there is any subscriber."""


class _Known:
    """Whether anybody subscribed, as this process saw it last."""

    until = 0.0
    anybody = False


def wake_feed() -> None:
    """Something happened: have it delivered at once. Where nobody subscribed this costs no message."""
    if time.monotonic() >= _Known.until:
        with reading(engine()) as connection:
            _Known.anybody = cursors.anybody(connection)
        _Known.until = time.monotonic() + LOOK_AGAIN_SECONDS
    if _Known.anybody:
        sequence.send(expires=WAKE_EXPIRES_SECONDS)


def look_after_feed() -> int:
    """What the reconciler does at its tick: place what has no position, wake what is due; returns how many were."""
    place(engine())
    with reading(engine()) as connection:
        names = cursors.due(connection)
    for name in names:
        deliver.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    return len(names)


@task("feed.sequence")
def sequence() -> str:
    """Give what happened its positions, and wake the subscribers it may be for."""
    woken = look_after_feed()
    note(woken=woken, idle=not woken)
    return f"done: {woken} subscribers woken"


@task("feed.deliver")
def deliver(name: str) -> str:
    """Bring one subscriber what waits for it; what is left at the end goes on as a new task."""
    opener = functools.partial(open_sink, ours=sinks_know())
    done = delivering.deliver(engine(), name, open_sink=opener, seconds=DELIVER_SECONDS)
    metrics.count(metrics.DELIVERED, done.delivered, subscriber=name)
    metrics.count(metrics.REFUSED_EVENTS, done.refused, subscriber=name)
    note(delivered=done.delivered, refused=done.refused, idle=done.outcome in {"nothing to do", "full"})
    if done.outcome in {"expired", "disabled"}:
        log.error(f"subscriber_{done.outcome}", subscriber=name, reason=done.reason)
    elif done.reason is not None and done.outcome != "full":
        log.warning("subscriber_takes_nothing", subscriber=name, reason=done.reason)
    # What came while it was leased was told to nobody.
    if done.outcome in {"goes on", "up to date"}:
        with reading(engine()) as connection:
            goes_on = name in cursors.due(connection)
        if goes_on:
            deliver.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    return f"{done.outcome}: {done.delivered} events delivered, {done.refused} refused"


@task("feed.keep")
def keep_feed() -> str:
    """Drop what is older than the feed is kept, and say who fell behind."""
    dropped = drop_old(engine(), days=current_settings().feed_retention_days)
    expired = expire(engine())
    for each in expired:
        log.error("subscriber_expired", subscriber=each.name, hole_from=each.hole_from, hole_to=each.hole_to)
    note(dropped=dropped, expired=len(expired))
    return f"done: {dropped} rows dropped, {len(expired)} subscribers expired"
