"""The tasks of the feed: positions for what happened, and bringing it to each subscriber.

State is rows, so a message that gets lost costs delay only: the reconciler's tick does the same.
"""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING, Final

from pipeline.batches.backlog import is_deep
from pipeline.celery import log, note, task
from pipeline.database.engine import reading
from pipeline.feed import cursors
from pipeline.feed import deliver as delivering
from pipeline.feed.replays import due_replays, take_replay
from pipeline.feed.retention import drop_old, expire
from pipeline.feed.sequence import place
from pipeline.feed.shared import Shared
from pipeline.feed.sinks import open_sink
from pipeline.monitoring import metrics
from pipeline.settings import current_settings, sinks_know
from pipeline.tasks.resources import engine
from pipeline.worker.giving_way import gives_way
from pipeline.worker.share import Share
from pipeline.worker.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from pipeline.feed.deliver import Delivery
    from pipeline.feed.rules.cursor import Lease

DELIVER_SECONDS: Final = 5.0
"""How long one task delivers to one subscriber before it lets others have the slot."""

WAKE_EXPIRES_SECONDS: Final = 60
"""A message that no feed process has begun by then is dropped: the reconciler sends others."""

SEQUENCED_AGAIN_SECONDS: Final = 0.1
"""How soon a process sequences again. Each time wakes every subscriber, so what comes within it goes together."""

SHARE: Final = 0.03
"""Of the machine, for what a feed process works while a backlog is deep; what the database does for it comes on top."""

MANY_RECORDS: Final = 200
WOKEN_BY_MANY_SECONDS: Final = 1.0
"""How soon a process wakes the feed again behind a batch of more: so large they come in a backlog, where messages cost
calls. The reconciler finds what nobody was woken for behind the last."""

LOOK_AGAIN_SECONDS: Final = 2.0
"""How long a process remembers whether there is any subscriber."""


class _Known:
    """What this process knows of the feed: whether anybody subscribed, and when it woke one that looks after it."""

    until = 0.0
    anybody = False
    woke_at = -math.inf


def _calls_come_first() -> bool:
    with reading(engine()) as connection:
        return is_deep(connection)


_SHARE: Final = Share(SHARE, _calls_come_first)
_SHARED: Final = Shared()
_TURNS: Final = Turns(SEQUENCED_AGAIN_SECONDS)


def wake_feed(*, records: int = 1) -> None:
    """Something happened: have it delivered at once. Where nobody subscribed this costs no message.

    Args:
        records: to how many at once.
    """
    if time.monotonic() >= _Known.until:
        with reading(engine()) as connection:
            _Known.anybody = cursors.anybody(connection)
        _Known.until = time.monotonic() + LOOK_AGAIN_SECONDS
    # Who was woken looks once more when the shorter time is over, and sees what was committed in between.
    apart = SEQUENCED_AGAIN_SECONDS if records <= MANY_RECORDS else WOKEN_BY_MANY_SECONDS
    if _Known.anybody and time.monotonic() >= _Known.woke_at + apart:
        _Known.woke_at = time.monotonic()
        sequence.send(expires=WAKE_EXPIRES_SECONDS)


def look_after_feed() -> int:
    """What the reconciler does at its tick: place what has no position, wake what is due; returns how many were."""
    place(engine())
    with reading(engine()) as connection:
        names = cursors.due(connection)
        replays = due_replays(connection)
    for name in names:
        deliver.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    for name in replays:
        replay.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    return len(names) + len(replays)


@task("feed.sequence")
def sequence() -> str:
    """Give what happened its positions, and wake the subscribers it may be for."""
    woken, until = 0, time.monotonic() + DELIVER_SECONDS
    for _ in range(2):  # whoever sent this sends no other for a turn's length
        with _TURNS.taken() as is_ours:
            if not is_ours:
                note(woken=woken, idle=not woken)
                return f"done: {woken} subscribers woken, and another one is about to"
            _rest(until=until)
            woken += look_after_feed()
    note(woken=woken, idle=not woken)
    return f"done: {woken} subscribers woken"


@task("feed.deliver")
def deliver(name: str) -> str:
    """Bring one subscriber what waits for it; what is left at the end goes on as a new task."""
    # Woken twice while every slot was taken: the first did it all, and to take and open a sink is most of a small task.
    if not _is_due(name, cursors.due):
        note(idle=True)
        return "nothing to do: nothing waits, or another one delivers it"
    done = _deliver(name, cursors.take)
    metrics.count(metrics.DELIVERED, done.delivered, subscriber=name)
    metrics.count(metrics.REFUSED_EVENTS, done.refused, subscriber=name)
    if done.outcome in {"expired", "disabled"}:
        log.error(f"subscriber_{done.outcome}", subscriber=name, reason=done.reason)
    elif done.reason is not None and done.outcome != "full":
        log.warning("subscriber_takes_nothing", subscriber=name, reason=done.reason)
    # What came while it was leased was told to nobody.
    if done.outcome in {"goes on", "up to date"} and _is_due(name, cursors.due):
        deliver.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    return f"{done.outcome}: {done.delivered} events delivered, {done.refused} refused"


@task("feed.replay")
def replay(name: str) -> str:
    """Bring one subscriber the next of what it gets once more, as much as its rate allows."""
    done = _deliver(name, take_replay)
    metrics.count(metrics.REPLAYED, done.delivered, subscriber=name)
    if done.outcome in {"expired", "disabled"}:
        log.error(f"replay_{done.outcome}", subscriber=name, reason=done.reason)
    elif done.outcome == "done":
        log.info("replay_done", subscriber=name)
    elif done.reason is not None and done.outcome != "full":
        log.warning("replay_takes_nothing", subscriber=name, reason=done.reason)
    if done.outcome == "goes on" and _is_due(name, due_replays):
        replay.send(name=name, expires=WAKE_EXPIRES_SECONDS)
    return f"{done.outcome}: {done.delivered} events delivered once more, {done.refused} refused"


def _deliver(name: str, take: Callable[[Connection, str], Lease | None]) -> Delivery:
    opener = functools.partial(open_sink, ours=sinks_know())
    done = delivering.deliver(
        engine(), name, open_sink=opener, seconds=DELIVER_SECONDS, take=take, shared=_SHARED, rest=_rest
    )
    note(delivered=done.delivered, refused=done.refused, idle=done.outcome in {"nothing to do", "full"})
    return done


def _rest(*, until: float) -> None:
    """Integrators fall behind for as long as a backlog is deep, and catch up afterwards."""
    if gives_way():
        _SHARE.rest(until=until)


def _is_due(name: str, due: Callable[[Connection], list[str]]) -> bool:
    with reading(engine()) as connection:
        return name in due(connection)


@task("feed.keep")
def keep_feed() -> str:
    """Drop what is older than the feed is kept, and say who fell behind."""
    dropped = drop_old(engine(), days=current_settings().feed_retention_days)
    expired = expire(engine())
    for each in expired:
        log.error("subscriber_expired", subscriber=each.name, hole_from=each.hole_from, hole_to=each.hole_to)
    note(dropped=dropped, expired=len(expired))
    return f"done: {dropped} rows dropped, {len(expired)} subscribers expired"
