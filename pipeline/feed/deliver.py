"""Bringing a subscriber what waits for it: a part at a time, the cursor moved on behind each.

What was delivered and not written down before a crash is delivered again, by the same event ids; a sink that keeps a
cursor of its own is asked for it, and then nothing is.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import DBAPIError

from pipeline.database.engine import is_outage
from pipeline.errors import PipelineError
from pipeline.feed import cursors
from pipeline.feed.cursors import LEASE_SECONDS, Cursor, Refusal
from pipeline.feed.reading import Wanted, read_part
from pipeline.feed.rules.backoff import wait_seconds
from pipeline.feed.sequence import head
from pipeline.feed.sinks import settings_of_replay
from pipeline.feed.sinks.base import FullError, RefusedError, SinkAwayError
from pipeline.logs.rules.secrets import mask, secret_values, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Engine

    from pipeline.feed.cursors import Lease
    from pipeline.feed.reading import Part
    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import Sink

    Opener = Callable[..., Sink]

MOST_EVENTS: Final = 500
"""The most that one part holds, whatever the sink would take: after a pause nobody gets all at once."""

FULL_WAIT_SECONDS: Final = 1.0
"""The wait for somebody to read a list that is full."""


class Delivery(NamedTuple):
    """What came of going to one subscriber.

    Attributes:
        outcome: a word: ``up to date``, ``done`` (a replay), ``goes on``, ``nothing to do``, ``away``, ``full``,
            ``stands``, ``expired``, ``disabled``, ``stopped`` (paused, cancelled or taken over meanwhile).
        delivered: the events it took.
        refused: those that it would not have.
        reason: a sentence, where it took nothing.
        hole: the positions that it will never get.
    """

    outcome: str
    delivered: int = 0
    refused: int = 0
    reason: str | None = None
    hole: tuple[int, int] | None = None


class _EndedError(PipelineError):
    """Nothing more is to be delivered this time; nobody sees it but `deliver`."""

    def __init__(self, outcome: str, reason: str | None = None, hole: tuple[int, int] | None = None) -> None:
        super().__init__(reason or outcome)
        self.outcome, self.reason, self.hole = outcome, reason, hole


def deliver(
    engine: Engine,
    name: str,
    *,
    open_sink: Opener,
    seconds: float,
    chance: Callable[[], float] = random.random,
    take: Callable[[Connection, str], Lease | None] = cursors.take,
) -> Delivery:
    """Bring a subscriber what waits for it, until nothing does or the time is up.

    Args:
        engine: the database.
        name: the subscriber's.
        open_sink: as ``pipeline.feed.sinks.open_sink``.
        seconds: how long to go on.
        chance: for the jitter.
        take: what is taken: its main cursor, or that of its replay (``pipeline.feed.replays.take_replay``).
    """
    with engine.begin() as connection:
        lease = take(connection, name)
    if lease is None:
        return Delivery("nothing to do")
    walk = _Walk(engine, lease, chance)
    with _kept(engine, lease):
        try:
            with contextlib.closing(_opened(lease, open_sink)) as sink:
                outcome = walk.go(sink, until=time.monotonic() + seconds)
        except _EndedError as ended:
            return Delivery(ended.outcome, walk.delivered, walk.refused, ended.reason, ended.hole)
        except SinkAwayError as error:
            return walk.missed(error)
        finally:
            with engine.begin() as connection:
                cursors.let_go(connection, lease)
    return Delivery(outcome, walk.delivered, walk.refused)


def _opened(lease: Lease, open_sink: Opener) -> Sink:
    # One of the same name that was removed had another token: what its sink kept is not ours. A replay has one of its
    # own, so that neither its events are taken for repeats, nor the cursor that a sink keeps is moved.
    subscriber = f"{lease.name}.{lease.token.hex[:8]}"
    if lease.replay is None:
        return open_sink(lease.sink, lease.settings, subscriber=subscriber)
    settings = settings_of_replay(lease.sink, lease.settings, lease.replay.id)
    return open_sink(lease.sink, settings, subscriber=f"{subscriber}.{lease.replay.id}")


@contextlib.contextmanager
def _kept(engine: Engine, lease: Lease) -> Iterator[None]:
    """Renew the lease while the block runs, so that it can be short."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3):
            try:
                with engine.begin() as connection:
                    if not cursors.renew(connection, lease):
                        return
            except DBAPIError as error:
                if not is_outage(error):
                    raise

    threading.Thread(target=renew, name=f"lease of {lease.name}", daemon=True).start()
    try:
        yield
    finally:
        done.set()


class _Walk:
    """One going through what waits for a subscriber."""

    def __init__(self, engine: Engine, lease: Lease, chance: Callable[[], float]) -> None:
        self._engine, self._lease, self._chance = engine, lease, chance
        self._cursor = self._taken = lease.cursor
        self._wanted = Wanted(lease.wanted, lease.shape, lease.fields)
        if again := lease.replay:
            self._wanted = self._wanted._replace(since=again.since, until=again.until, last=again.last)
        self._uncounted, self._passed, self._held = 0, list[Cursor](), list[Refusal]()
        self.delivered = self.refused = 0

    def go(self, sink: Sink, *, until: float) -> str:
        """Part after part; a word for how it ended."""
        self._ask(sink)
        left = self._lease.replay.at_once if self._lease.replay else None
        while True:
            with self._engine.connect() as connection:
                part = read_part(connection, self._cursor, self._wanted, most=min(sink.most_events, MOST_EVENTS))
            if part.hole is not None:
                self._expire(part.hole)
            if left is not None:
                part = part.first(left)
                left -= len(part.events)
            self._give(sink, part)
            if part.is_last:
                return self._done(sink)
            if time.monotonic() > until or left == 0:
                return "goes on"

    def _done(self, sink: Sink) -> str:
        """Nothing waits any more: a replay has come to its end, and all that it left beside its sink is removed."""
        if self._lease.replay is None:
            return "up to date"
        sink.forget()
        with self._engine.begin() as connection:
            cursors.end(connection, self._lease, "done", None)
        return "done"

    def missed(self, error: SinkAwayError) -> Delivery:
        """Nobody took anything: not before a while, or not ever."""
        reason = masked(str(error), self._lease.settings)
        with self._engine.begin() as connection:
            if error.disabled:
                ended = "stopped" if self._lease.replay else "disabled"
                cursors.end(connection, self._lease, ended, reason)
                return Delivery("disabled", self.delivered, self.refused, reason)
            full = isinstance(error, FullError)
            wait = wait_seconds(
                1 if full or self.delivered else self._lease.misses + 1,
                chance=self._chance(),
                asked_for=error.retry_after_seconds,
            )
            cursors.miss(connection, self._lease, reason, wait_seconds=wait, counts=not full)
        return Delivery("full" if full else "away", self.delivered, self.refused, reason)

    def _ask(self, sink: Sink) -> None:
        """What the sink knows better than the row: it was told, and the row was not, before a crash."""
        known = sink.delivered()
        if known is None or Cursor(*known) <= self._cursor:
            return
        with self._engine.connect() as connection:
            newest = head(connection)
        if known[0] > newest:
            self._stand(
                f"the sink says that it took position {known[0]}, and the newest is {newest}: was the database "
                "restored, or is it another one's? Remove the subscriber, and add it with a list of its own"
            )
        self._taken = Cursor(*known)

    def _give(self, sink: Sink, part: Part) -> None:
        """Hand over a part, but for what the sink has; what is refused is halved until the event is found."""
        fresh = [event for event in part.events if event[:2] > self._taken]
        self._uncounted, self._passed, self._held = len(part.events) - len(fresh), part.passed, []
        waiting = [self._admitted(fresh)]
        while waiting:
            events = waiting.pop(0)
            try:
                if events:
                    sink.deliver(events)
            except RefusedError as error:
                if len(events) > 1:
                    middle = len(events) // 2
                    waiting[:0] = [events[:middle], events[middle:]]
                    continue
                self._refuse(events[0], str(error), error.answer)
                waiting = [self._admitted(each) for each in waiting]
                continue
            self._uncounted += len(events)
            if waiting and events:
                self._advance(Cursor(*events[-1][:2]))
        if part.behind != self._cursor:
            self._advance(part.behind)

    def _admitted(self, events: Sequence[Event]) -> list[Event]:
        """Without those that may not overtake a refused one of their call: they are refused as they are passed."""
        if self._lease.ordering != "per call" or not (self._lease.refused or self.refused):
            return list(events)
        with self._engine.connect() as connection:
            calls = cursors.refused_calls(connection, self._lease, events)
        held = [event for event in events if (event.source, event.call_ref) in calls]
        self._held += [Refusal(event, "an earlier event of this call was refused", "") for event in held]
        return [event for event in events if (event.source, event.call_ref) not in calls]

    def _refuse(self, event: Event, reason: str, answer: str) -> None:
        reason = masked(reason, self._lease.settings)
        if self._lease.ordering == "strict":
            self._stand(
                f"event {event.event_id} of call {event.call_ref} was refused, and none may overtake it: {reason}"
            )
        self._held.append(Refusal(event, reason, masked(answer, self._lease.settings)))
        self._advance(Cursor(event.position, event.place))

    def _advance(self, to: Cursor) -> None:
        """Move the cursor; each event that it passes is counted there and then as what became of it, and once."""
        refused = [each for each in self._held if each.event[:2] <= to]
        passed = [each for each in self._passed if each <= to]
        with self._engine.begin() as connection:
            goes_on = cursors.advance(
                connection, self._lease, to, delivered=self._uncounted, filtered=len(passed), refused=refused
            )
        self.delivered += self._uncounted
        self.refused += len(refused)
        self._cursor, self._uncounted, self._passed = to, 0, self._passed[len(passed) :]
        self._held = [each for each in self._held if each.event[:2] > to]
        if not goes_on:
            raise _EndedError("stopped")

    def _stand(self, reason: str) -> None:
        wait = wait_seconds(self._lease.misses + 1, chance=self._chance())
        with self._engine.begin() as connection:
            cursors.miss(connection, self._lease, reason, wait_seconds=wait)
        raise _EndedError("stands", reason)

    def _expire(self, hole: tuple[int, int]) -> None:
        reason = f"it fell behind the retention of the feed: positions {hole[0]} to {hole[1]} are gone"
        with self._engine.begin() as connection:
            cursors.end(connection, self._lease, "expired", reason, hole)
        raise _EndedError("expired", reason, hole)


def masked(text: str, settings: Mapping[str, Any]) -> str:
    """A text without what a sink's settings hide."""
    texts = [value for value in settings.values() if isinstance(value, str)]
    return mask(text, {*secrets_of(*texts), *secret_values(settings)})
