"""Delivering again what was refused, because somebody said so: that event alone, the cursor where it is.

An event goes by itself and under the id that it had. What of its call was held back behind it follows in its order, and
stays where it is refused once more.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.database.engine import reading
from pipeline.feed import refusals
from pipeline.feed.reading import read_events
from pipeline.feed.rules.part import Wanted
from pipeline.feed.sinks.base import RefusedError
from pipeline.feed.telling import told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.feed.refusals import Refusal
    from pipeline.feed.rules.cursor import Lease
    from pipeline.feed.rules.event import Event
    from pipeline.feed.sinks.base import Sink

AT_ONCE: Final = 500


class Counts(Protocol):
    """What a delivery comes to, added to as it goes."""

    delivered: int
    refused: int


def deliver_again(engine: Engine, lease: Lease, open_sink: Callable[[], Sink], counts: Counts, *, until: float) -> str:
    """Deliver what is to be delivered to a subscriber again; ``done``, ``goes on`` or ``stopped``, as of `Delivery`.

    Args:
        engine: the database.
        lease: the subscriber.
        open_sink: opens its sink.
        counts: is told what was taken and refused.
        until: when to stop, by the monotonic clock; some are tried in any case.

    Raises:
        SinkAwayError: nobody takes anything; what was not taken waits.
    """
    if not lease.again:
        return "done"
    wanted = Wanted(lease.wanted, lease.shape, lease.fields)
    while True:
        with engine.begin() as connection:
            some = refusals.to_deliver(connection, lease, limit=AT_ONCE)
        if not some:
            return "done"
        with reading(engine) as connection:
            events = read_events(connection, [each[:2] for each in some], wanted)
        # A sink of its own for each part: some pass over what comes before what they had.
        with contextlib.closing(open_sink()) as sink:
            outcome = _Part(engine, lease, sink, counts).go(some, events, until=until)
        if outcome != "done":
            return outcome


class _Part:
    """Some refusals in the feed's order."""

    def __init__(self, engine: Engine, lease: Lease, sink: Sink, counts: Counts) -> None:
        self._engine, self._lease, self._sink, self._counts = engine, lease, sink, counts
        self._stands: set[tuple[str, str]] = set()
        """Calls of which one was not taken."""

    def go(self, some: Sequence[Refusal], events: dict[tuple[int, int], Event], *, until: float) -> str:
        for refusal in some:
            if refusal.call in self._stands:
                continue
            event = events.get(refusal[:2])
            if not (self._give_up(refusal) if event is None else self._give(refusal, event)):
                return "stopped"
            if time.monotonic() > until:
                return "goes on"
        return "done"

    def _give(self, refusal: Refusal, event: Event) -> bool:
        try:
            self._sink.deliver([event])
        except RefusedError as error:
            self._counts.refused += 1
            with self._engine.begin() as connection:
                said = told(error, event, self._lease.settings)
                refusals.write(connection, self._lease, refusals.Refused(event, **said._asdict()))
                self._stand(connection, refusal)
            return True
        with self._engine.begin() as connection:
            self._counts.delivered += 1
            return refusals.taken(connection, self._lease, refusal)

    def _give_up(self, refusal: Refusal) -> bool:
        with self._engine.begin() as connection:
            kept = refusals.is_kept(connection, refusal.position)
            refusals.put_back(connection, self._lease, refusal, refusals.WALLED if kept else refusals.PAST)
            self._stand(connection, refusal)
        return True

    def _stand(self, connection: Connection, refusal: Refusal) -> None:
        if self._lease.ordering == "per call" and refusal.call_ref:
            self._stands.add(refusal.call)
            refusals.put_back_behind(connection, self._lease, refusal)
