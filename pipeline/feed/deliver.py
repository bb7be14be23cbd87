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
from pipeline.feed import cursors, refusals
from pipeline.feed.again import deliver_again
from pipeline.feed.cursors import LEASE_SECONDS, Cursor
from pipeline.feed.reading import Wanted, read_part
from pipeline.feed.rules.backoff import wait_seconds
from pipeline.feed.sequence import head
from pipeline.feed.sinks.base import FullError, RefusedError, SinkAwayError
from pipeline.feed.telling import masked, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

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
        outcome: a word: ``up to date``, ``goes on``, ``nothing to do``, ``away``, ``full``, ``stands``, ``expired``,
            ``disabled``, ``stopped`` (paused or taken over meanwhile).
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
) -> Delivery:
    """Bring a subscriber what waits for it, until nothing does or the time is up.

    Args:
        engine: the database.
        name: the subscriber's.
        open_sink: as ``pipeline.feed.sinks.open_sink``.
        seconds: how long to go on.
        chance: for the jitter.
    """
    with engine.begin() as connection:
        lease = cursors.take(connection, name)
    if lease is None:
        return Delivery("nothing to do")
    walk = _Walk(engine, lease, chance)
    until = time.monotonic() + seconds
    with _kept(engine, lease):
        try:
            # What somebody decided about a refused event comes first: the order of its call depends on it.
            outcome = deliver_again(engine, lease, lambda: _opened(lease, open_sink), walk, until=until)
            if outcome == "done":
                with contextlib.closing(_opened(lease, open_sink)) as sink:
                    outcome = walk.go(sink, until=until)
        except _EndedError as ended:
            return Delivery(ended.outcome, walk.delivered, walk.refused, ended.reason, ended.hole)
        except SinkAwayError as error:
            return walk.missed(error)
        finally:
            with engine.begin() as connection:
                cursors.let_go(connection, lease)
    return Delivery(outcome, walk.delivered, walk.refused)


def _opened(lease: Lease, open_sink: Opener) -> Sink:
    # One of the same name that was removed had another token: what its sink kept is not ours.
    return open_sink(lease.sink, lease.settings, subscriber=f"{lease.name}.{lease.token.hex[:8]}")


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
        self._given_up: set[tuple[int, int]] = set()
        """Events before which nothing may go, but that somebody gave up: passed over, and not counted yet."""
        self._stood: set[tuple[int, int]] = set()
        """Such that nobody gave up: they are tried again."""
        self.delivered = self.refused = 0

    def go(self, sink: Sink, *, until: float) -> str:
        """Part after part; a word for how it ended."""
        self._ask(sink)
        while True:
            with self._engine.connect() as connection:
                part = read_part(connection, self._cursor, self._wanted, most=min(sink.most_events, MOST_EVENTS))
            if part.hole is not None:
                self._expire(part.hole)
            self._give(sink, part)
            if part.is_last:
                return "up to date"
            if time.monotonic() > until:
                return "goes on"

    def missed(self, error: SinkAwayError) -> Delivery:
        """Nobody took anything: not before a while, or not ever."""
        reason = masked(str(error), self._lease.settings)
        with self._engine.begin() as connection:
            if error.disabled:
                cursors.end(connection, self._lease, "disabled", reason)
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
        uncounted = len(part.events) - len(fresh)
        waiting = [self._admitted(self._undecided(fresh))]
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
                self._refuse(events[0], error)
                waiting = [self._admitted(each) for each in waiting]
                taken = 0
            else:
                taken = len(events)
            taken, uncounted = taken + uncounted, 0
            self.delivered += taken
            if waiting:
                self._advance(Cursor(*events[-1][:2]) if events else self._cursor, delivered=taken)
            elif (part.behind, taken, part.filtered) != (self._cursor, 0, 0):
                self._advance(part.behind, delivered=taken, filtered=part.filtered)

    def _undecided(self, events: Sequence[Event]) -> list[Event]:
        """Without those that were refused or held back, and then given up, or are somebody's to decide about."""
        is_strict = self._lease.ordering == "strict"
        if not is_strict and not (self._lease.refused or self.refused):
            return list(events)
        with self._engine.connect() as connection:
            states = refusals.beyond(connection, self._lease.name, self._cursor)
        if not is_strict:
            return [event for event in events if event[:2] not in states]
        here = {event[:2] for event in events} & set(states)
        self._given_up = {each for each in here if states[each] == "discarded"}
        self._stood = here - self._given_up
        return [event for event in events if event[:2] not in self._given_up]

    def _admitted(self, events: Sequence[Event]) -> list[Event]:
        """Without those that may not overtake a refused one of their call."""
        if self._lease.ordering != "per call" or not (self._lease.refused or self.refused):
            return list(events)
        with self._engine.begin() as connection:
            held = refusals.undelivered_calls(connection, self._lease.name, events)
            for event in events:
                if (event.source, event.call_ref) in held:
                    self.refused += 1
                    refusals.hold(connection, self._lease, event)
        return [event for event in events if (event.source, event.call_ref) not in held]

    def _refuse(self, event: Event, error: RefusedError) -> None:
        said = told(error, event, self._lease.settings)
        self.refused += 1
        with self._engine.begin() as connection:
            refusals.refuse(connection, self._lease, event, said)
            if self._lease.ordering != "strict":
                cursors.advance(connection, self._lease, Cursor(event.position, event.place), delivered=0, filtered=0)
        if self._lease.ordering == "strict":
            self._stand(
                f"event {event.event_id} of call {event.call_ref} was refused, and none may overtake it: {said.reason}"
            )

    def _advance(self, to: Cursor, *, delivered: int = 0, filtered: int = 0) -> None:
        passed = {each for each in self._given_up if each <= to}
        with self._engine.begin() as connection:
            goes_on = cursors.advance(
                connection, self._lease, to, delivered=delivered, filtered=filtered, refused=len(passed)
            )
            if any(each <= to for each in self._stood):
                refusals.resolve_passed(connection, self._lease, self._cursor, to)
        self._given_up -= passed
        self._cursor = to
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
