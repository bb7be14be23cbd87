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

from pipeline.database.engine import each_by_itself, is_outage, reading
from pipeline.errors import PipelineError
from pipeline.feed import cursors, refusals
from pipeline.feed.again import deliver_again
from pipeline.feed.cursors import LEASE_SECONDS
from pipeline.feed.reading import read_part
from pipeline.feed.refusals import Refused
from pipeline.feed.replay_refusals import refused_calls, write_refused
from pipeline.feed.rules.backoff import wait_seconds
from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.part import Wanted
from pipeline.feed.sequence import head
from pipeline.feed.sinks import settings_of_replay
from pipeline.feed.sinks.base import FullError, RefusedError, SinkAwayError
from pipeline.feed.telling import masked, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.feed.rules.cursor import Lease
    from pipeline.feed.rules.event import Event
    from pipeline.feed.rules.part import Part
    from pipeline.feed.shared import Shared
    from pipeline.feed.sinks.base import Sink

    Opener = Callable[..., Sink]

MOST_EVENTS: Final = 500
"""The most records that one part looks at: after a pause nobody holds all at once. A sink gets it in as many deliveries
as it takes."""

SETTLE_SECONDS: Final = 0.2
"""How long the cursor may stand behind what was taken, while there is more to give. A crash repeats that much, by the
same ids; a commit for each request would have every event wait for the disk."""

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
    settle_seconds: float = SETTLE_SECONDS,
    chance: Callable[[], float] = random.random,
    take: Callable[[Connection, str], Lease | None] = cursors.take,
    shared: Shared | None = None,
    rest: Callable[..., None] | None = None,
) -> Delivery:
    """Bring a subscriber what waits for it, until nothing does or the time is up.

    Args:
        engine: the database.
        name: the subscriber's.
        open_sink: as ``pipeline.feed.sinks.open_sink``.
        seconds: how long to go on.
        settle_seconds: how long the cursor may stand behind what was taken.
        chance: for the jitter.
        take: what is taken: its main cursor, or that of its replay (``pipeline.feed.replays.take_replay``).
        shared: what other subscribers were just told of; None: everything is looked up.
        rest: called before each part with ``until``, an instant of the monotonic clock: others may come first.
    """
    with each_by_itself(engine) as connection:
        lease = take(connection, name)
    if lease is None:
        return Delivery("nothing to do")
    walk = _Walk(engine, lease, chance, settle_seconds, shared=shared, rest=rest)
    until = time.monotonic() + seconds
    with _kept(engine, lease):
        try:
            # What somebody decided about a refused event comes first: the order of its call depends on it.
            outcome = "done"
            if lease.replay is None:
                outcome = deliver_again(engine, lease, lambda: _opened(lease, open_sink), walk, until=until)
            if outcome == "done":
                with contextlib.closing(_opened(lease, open_sink)) as sink:
                    outcome = walk.go(sink, until=until)
        except _EndedError as ended:
            return Delivery(ended.outcome, walk.delivered, walk.refused, ended.reason, ended.hole)
        except SinkAwayError as error:
            return walk.missed(error)
        finally:
            if not walk.let_go:
                with each_by_itself(engine) as connection:
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

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        chance: Callable[[], float],
        settle_seconds: float,
        *,
        shared: Shared | None,
        rest: Callable[..., None] | None,
    ) -> None:
        self._engine, self._lease, self._chance, self._shared, self._rest = engine, lease, chance, shared, rest
        self._cursor = self._taken = self._reached = lease.cursor
        self._settle_seconds, self._advanced_at = settle_seconds, time.monotonic()
        self._wanted = Wanted(lease.wanted, lease.shape, lease.fields)
        if again := lease.replay:
            self._wanted = self._wanted._replace(since=again.since, until=again.until, last=again.last)
        self._uncounted, self._passed, self._held = 0, list[Cursor](), list[Refused]()
        self._given_up: set[tuple[int, int]] = set()
        """Events before which nothing may go, but that somebody gave up: passed over, and not counted yet."""
        self._stood: set[tuple[int, int]] = set()
        """Such that nobody gave up: they are tried again."""
        self.delivered = self.refused = 0
        self.let_go = False
        """Whether the lease was given back with the last that was written."""

    def go(self, sink: Sink, *, until: float) -> str:
        """Part after part; a word for how it ended."""
        self._ask(sink)
        left = self._lease.replay.at_once if self._lease.replay else None
        # Of one that took nothing the last time little is read, until it takes something: most often for nothing.
        most = 1 if self._lease.misses else MOST_EVENTS
        while True:
            if self._rest is not None:
                self._rest(until=until)
                if time.monotonic() > until:
                    return "goes on"
            with reading(self._engine) as connection:
                part = read_part(connection, self._cursor, self._wanted, most=most, shared=self._shared)
            if part.hole is not None:
                self._expire(part.hole)
            if left is not None:
                part = part.first(left)
                left -= len(part.events)
            if not self._give(sink, part, until=until):
                return "goes on"
            if part.is_last:
                return self._done(sink)
            if time.monotonic() > until or left == 0:
                return "goes on"
            most = MOST_EVENTS if self.delivered else min(2 * most, MOST_EVENTS)

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
        with reading(self._engine) as connection:
            newest = head(connection)
        if known[0] > newest:
            self._stand(
                f"the sink says that it took position {known[0]}, and the newest is {newest}: was the database "
                "restored, or is it another one's? Remove the subscriber, and add it with a list of its own"
            )
        self._taken = Cursor(*known)

    def _give(self, sink: Sink, part: Part, *, until: float) -> bool:
        """Hand over a part, but for what the sink has; what is refused is halved until the event is found.

        False: the time was up, and some of it is left.
        """
        fresh = [event for event in part.events if event[:2] > self._taken]
        self._uncounted, self._passed, self._held = len(part.events) - len(fresh), part.passed, []
        fresh = self._admitted(self._undecided(fresh))
        waiting = [fresh[at : at + sink.most_events] for at in range(0, len(fresh), sink.most_events)]
        while waiting:
            events = waiting.pop(0)
            try:
                sink.deliver(events)
            except RefusedError as error:
                if len(events) > 1:
                    middle = len(events) // 2
                    waiting[:0] = [events[:middle], events[middle:]]
                    continue
                self._settle()
                self._refuse(events[0], error)
                waiting = self._still_admitted(waiting)
                continue
            except SinkAwayError:
                self._settle()
                raise
            self._uncounted += len(events)
            self._reached = Cursor(*events[-1][:2])
            now = time.monotonic()
            if waiting and (now > until or now - self._advanced_at >= self._settle_seconds):
                self._settle()
                if now > until:
                    return False
        if part.behind != self._cursor:
            self._advance(part.behind, lets_go=part.is_last and self._lease.replay is None)
        return True

    def _settle(self) -> None:
        """The cursor stands behind all that was taken."""
        if self._reached > self._cursor:
            self._advance(self._reached)

    def _still_admitted(self, waiting: Sequence[Sequence[Event]]) -> list[list[Event]]:
        """What waits, after one more event was refused."""
        admitted = {event[:2] for event in self._admitted([event for some in waiting for event in some])}
        left = ([event for event in some if event[:2] in admitted] for some in waiting)
        return [some for some in left if some]

    def _undecided(self, events: Sequence[Event]) -> list[Event]:
        """Without those that were refused or held back, and then given up, or are somebody's to decide about."""
        if self._lease.replay is not None:
            return list(events)
        is_strict = self._lease.ordering == "strict"
        if not is_strict and not (self._lease.refused or self.refused):
            return list(events)
        with reading(self._engine) as connection:
            states = refusals.beyond(connection, self._lease.name, self._cursor)
        if not is_strict:
            return [event for event in events if event[:2] not in states]
        here = {event[:2] for event in events} & set(states)
        self._given_up = {each for each in here if states[each] == "discarded"}
        self._stood = here - self._given_up
        return [event for event in events if event[:2] not in self._given_up]

    def _admitted(self, events: Sequence[Event]) -> list[Event]:
        """Without those that may not overtake a refused one of their call: they are refused as they are passed."""
        if self._lease.ordering != "per call" or not (self._lease.refused or self.refused):
            return list(events)
        held = self._held_back(events)
        self._held += [Refused(event, refusals.HELD, attempts=0) for event in events if _call(event) in held]
        return [event for event in events if _call(event) not in held]

    def _held_back(self, events: Sequence[Event]) -> set[tuple[str, str]]:
        """Of the calls of these events those that wait behind a refused one."""
        with reading(self._engine) as connection:
            if self._lease.replay is not None:
                return refused_calls(connection, self._lease.replay, events)
            return refusals.undelivered_calls(connection, self._lease.name, events)

    def _refuse(self, event: Event, error: RefusedError) -> None:
        said = told(error, event, self._lease.settings)
        refused = Refused(event, **said._asdict())
        if self._lease.ordering != "strict":
            self._held.append(refused)
            self._advance(Cursor(event.position, event.place))
            return
        with self._engine.begin() as connection:
            self._write(connection, refused)
        self.refused += 1
        self._stand(
            f"event {event.event_id} of call {event.call_ref} was refused, and none may overtake it: {said.reason}"
        )

    def _advance(self, to: Cursor, *, lets_go: bool = False) -> None:
        """Move the cursor; each event that it passes is counted there and then as what became of it, and once.

        Args:
            to: where it is then.
            lets_go: with it the lease is given back.
        """
        refused = [each for each in self._held if each.event[:2] <= to]
        passed = [each for each in self._passed if each <= to]
        given_up = {each for each in self._given_up if each <= to}
        stood = any(each <= to for each in self._stood)
        with self._engine.begin() if refused or stood else each_by_itself(self._engine) as connection:
            state = cursors.advance(
                connection,
                self._lease,
                to,
                delivered=self._uncounted,
                filtered=len(passed),
                refused=len(refused) + len(given_up),
                lets_go=lets_go,
            )
            if state is not None:
                for each in refused:
                    self._write(connection, each)
                if stood:
                    refusals.resolve_passed(connection, self._lease, self._cursor, to)
        self.delivered += self._uncounted
        self.refused += len(refused)
        self._cursor, self._uncounted, self._passed = to, 0, self._passed[len(passed) :]
        self._advanced_at, self.let_go = time.monotonic(), lets_go
        self._held = [each for each in self._held if each.event[:2] > to]
        self._given_up -= given_up
        if state != "active":
            raise _EndedError("stopped")

    def _write(self, connection: Connection, refused: Refused) -> None:
        """Write a refusal down; those of a replay count for nothing but the replay."""
        if self._lease.replay is None:
            refusals.write(connection, self._lease, refused)
        else:
            write_refused(connection, self._lease.replay, refused)

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


def _call(event: Event) -> tuple[str, str]:
    return event.source, event.call_ref
