"""The ingestor: claim what the dialler put on its list, commit it to the inbox, drop the claim, wake the workers.

A walk over the states of ``rules/states.py``: each state that does something is a method here, which says how that
ended; the table there says what follows. ``run()`` walks from one wait to the next; signals only set a flag. An element
is on the dialler's list, in a claim, or committed; a crash between any two lines below leaves it in one of these, and
``recover()`` carries on from there.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.engine import each_by_itself, is_outage
from pipeline.dialler.cdr_list import CdrList, LeaseHeldError
from pipeline.ingest.gate import Gate
from pipeline.ingest.lead import Lead
from pipeline.ingest.recovery import Recovery
from pipeline.ingest.rules.due import Due
from pipeline.ingest.rules.pace import Pace
from pipeline.ingest.rules.states import AFTER_WAITING, Ended, Event, State, after
from pipeline.ingest.settling import Settling
from pipeline.ingest.telling import Telling
from pipeline.logs.setup import OutageLog, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.batches.rules.batch import Batch
    from pipeline.monitoring.health import Sign


log = get_logger(__name__)


class Ingestor:
    """Drains one dialler's list into the inbox.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        source: the dialler's name.
        send: sends the first message of a batch; False when the broker is away.
        send_alone: the same where nothing else is on its way, so that a worker has it at once.
        pace: how fast to turn.
        sign: what shows that the loop turns.
    """

    def __init__(
        self,
        cdr_list: CdrList,
        engine: Engine,
        *,
        source: str,
        send: Callable[[Batch], bool],
        send_alone: Callable[[Batch], bool] | None = None,
        pace: Pace | None = None,
        sign: Sign | None = None,
    ) -> None:
        self._list = cdr_list
        self._engine = engine
        self._source = source
        self._pace = pace or Pace()
        self._sign = sign
        self._stop = threading.Event()
        self._outages = OutageLog(log)
        self._lead = Lead(cdr_list, engine, source)
        self._gate = Gate(source, self._pace)
        self._settling = Settling(
            cdr_list, engine, source, send=send, send_alone=send_alone or send, outages=self._outages
        )
        self._recovery = Recovery(cdr_list, engine, self._settling.settle_left)
        self._recovery_due = Due(self._pace.recover_every)
        self._telling = Telling(cdr_list, engine, source, self._outages)
        self._claimed_at = time.monotonic()
        self._state = State.STANDING_BY
        self._deeds: dict[State, Callable[[], Ended]] = {
            State.ASKING: self._ask,
            State.LOOKING: self._look,
            State.RECOVERING: self._recover,
            State.TELLING: self._tell,
            State.POLLING: self._poll,
            State.CLAIMING: self._claim,
        }

    def stop(self) -> None:
        """Finish the batch in hand, then return from ``run()``."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped."""
        structlog.contextvars.bind_contextvars(source=self._source)
        log.info("ingestor_started", list=self._list.name, owner=self._list.owner)
        while not self._stop.is_set():
            wait = self._walk()
            self._show()
            if wait:
                self._stop.wait(wait)
        self._leave()
        log.info("ingestor_stopped")

    def run_once(self) -> State:
        """Go on to the next state that waits, and return it.

        Nothing is claimed while the database is away: the elements are safer on the dialler's list.
        """
        self._walk()
        return self._state

    def recover(self) -> int:
        """Settle what was left behind, by whichever process; returns how many records were rescued."""
        return self._recovery.run()

    def _walk(self) -> float:
        """Do what the states do until one waits; returns for how many seconds."""
        state, wait = AFTER_WAITING[self._state], 0.0
        while state not in AFTER_WAITING:
            event, wait = self._do(state)
            state = after(state, event)
        self._state = state
        return wait or self._pace.wait(state)

    def _do(self, state: State) -> Ended:
        try:
            return self._deeds[state]()
        except redis.RedisError as error:
            # Refusals too (no password, no memory, a key of another type): said once, and tried until mended.
            self._outages.away("dialler_redis", error)
            if isinstance(error, redis.OutOfMemoryError):
                self._settling.make_room()
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            self._outages.away("database", error)
            # A connection to a server that became a standby stays one; a new one may find the primary.
            self._engine.dispose()
        # A claim whose answer was lost on the way, or that was not settled, is in the register; the way on leads there.
        return Ended(Event.AWAY)

    def _ask(self) -> Ended:
        return Ended(self._lead.ask())

    def _look(self) -> Ended:
        self._lead.look()
        return Ended(Event.DONE)

    def _recover(self) -> Ended:
        self.recover()
        self._recovery_due.done(time.monotonic())
        return Ended(Event.DONE)

    def _tell(self) -> Ended:
        self._telling.tell()
        return Ended(Event.DONE)

    def _poll(self) -> Ended:
        if self._recovery_due(time.monotonic()):
            return Ended(Event.DUE)
        if self._gate.due():
            return Ended(Event.SOMETHING)
        came = self._list.wait(self._pace.longest_wait)
        if came is not None:
            return Ended(Event.SOMETHING if came else Event.EMPTY)
        return Ended(Event.SOMETHING) if self._list.waiting() else self._empty()

    def _claim(self) -> Ended:
        """Look, claim and settle: nothing is claimed that the database did not just answer for.

        Settling is one statement, and so a transaction of its own, one way to the server in place of three.
        """
        claim, batch = None, None
        try:
            with each_by_itself(self._engine) as connection:
                look = self._gate.look(connection)
                limit = min(look.room, self._pace.batch_size)
                if look.stop is None and limit > 0:
                    claim = self._list.claim(limit)
                if claim is not None:
                    batch = self._settling.settle(connection, claim)
        except LeaseHeldError:
            return Ended(Event.HELD)
        self._outages.back("database")
        self._gate.say(look.stop)
        forbidden = look.stop is not None or limit <= 0
        # A claim would have renewed the lease.
        held = self._list.hold_lease() if forbidden else True
        self._outages.back("dialler_redis")
        if not held:
            return Ended(Event.HELD)
        if forbidden:
            return Ended(Event.NO_ROOM if look.stop is None else Event.FORBIDDEN)
        if claim is None:
            return self._empty()
        before, self._claimed_at = self._claimed_at, time.monotonic()
        records = len(claim.elements)
        self._gate.claimed(records)
        self._settling.settled(claim, batch, alone=look.unfinished == 0)
        # What fills a batch already needs no gathering.
        if records >= limit:
            return Ended(Event.SETTLED)
        pause = self._claimed_at - before
        return Ended(Event.SETTLED, self._pace.linger(look.unfinished, records=records, pause=pause))

    def _empty(self) -> Ended:
        rest = 0.0 if self._list.can_wait() else self._pace.rest(time.monotonic() - self._claimed_at)
        return Ended(Event.EMPTY, rest)

    def _show(self) -> None:
        if self._sign is not None:
            self._sign.alive()
            if self._state is State.OUTAGE:
                self._sign.not_ready()
            else:
                self._sign.ready()

    def _leave(self) -> None:
        try:
            self._list.release_lease()
        except redis.RedisError as error:
            log.info("lease_left_to_run_out", error=str(error))
        self._list.close()
        if self._sign is not None:
            self._sign.gone()
