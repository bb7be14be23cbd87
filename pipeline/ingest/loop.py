"""The ingestor: claim what the dialler put on its list, commit it to the inbox, drop the claim, wake the workers.

``run()`` loops over ``run_once()``; signals only set a flag. An element is on the dialler's list, in a claim, or
committed; a crash between any two lines below leaves it in one of these, and ``recover()`` carries on from there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from pipeline.batches.rules.steps import RESEND_AFTER_SECONDS
from pipeline.database.engine import is_missing, is_outage, wait_for_locks
from pipeline.dialler.cdr_list import CdrList, LeaseHeldError
from pipeline.dialler.rules.list_facts import dialed_at
from pipeline.ingest.inbox import Unfinished, settle, unfinished_batches
from pipeline.ingest.recovery import Recovery
from pipeline.ingest.rules.guards import FUSE_RECORDS, counts_again, fuse_blows, wrong_list
from pipeline.ingest.rules.pace import Pace
from pipeline.ingest.stops import Stop, raise_stop, recent_bad_share, standing_stop, was_released
from pipeline.logs.setup import OutageLog, get_logger
from pipeline.monitoring import metrics
from pipeline.monitoring.heartbeats import INGESTOR, beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.batches.rules.batch import Batch
    from pipeline.dialler.cdr_list import Claim
    from pipeline.monitoring.health import Sign


log = get_logger(__name__)


PEEKED = 20
"""Elements looked at before the first claim."""


class Turn(Enum):
    """How one turn of the loop ended."""

    CLAIMED = "claimed"
    EMPTY = "empty"
    FULL = "full"
    STANDBY = "standby"
    STOPPED = "stopped"
    OUTAGE = "outage"


class Ingestor:
    """Drains one dialler's list into the inbox.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        source: the dialler's name.
        send: sends the first message of a batch; False when the broker is away.
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
        pace: Pace | None = None,
        sign: Sign | None = None,
    ) -> None:
        self._list = cdr_list
        self._engine = engine
        self._source = source
        self._send = send
        self._pace = pace or Pace()
        self._sign = sign
        self._stop = threading.Event()
        self._outages = OutageLog(log)
        self._recovery = Recovery(cdr_list, engine, self._settle)
        self._recover_at = 0.0
        self._leading: bool | None = None
        self._unfinished = Unfinished(0, 0)
        self._more_waits = False
        self._judge_at = 0.0
        self._tell_at = 0.0
        self._trusted = False
        self._stopped_by: Stop | None = None

    def stop(self) -> None:
        """Finish the batch in hand, then return from ``run()``."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped."""
        structlog.contextvars.bind_contextvars(source=self._source)
        log.info("ingestor_started", list=self._list.name, owner=self._list.owner)
        waits = {
            Turn.EMPTY: self._pace.idle_poll,
            Turn.FULL: self._pace.longest_linger,
            Turn.STANDBY: self._pace.standby_poll,
            Turn.STOPPED: self._pace.stopped_poll,
            Turn.OUTAGE: self._pace.outage_poll,
        }
        while not self._stop.is_set():
            turn = self.run_once()
            self._show(turn)
            wait = self._linger() if turn is Turn.CLAIMED else waits[turn]
            if wait:
                self._stop.wait(wait)
        self._leave()
        log.info("ingestor_stopped")

    def _show(self, turn: Turn) -> None:
        if self._sign is not None:
            self._sign.alive()
            if turn is Turn.OUTAGE:
                self._sign.not_ready()
            else:
                self._sign.ready()

    def run_once(self) -> Turn:
        """One turn: recover if it is time, then claim, settle and send one batch.

        Nothing is claimed while the database is away: the elements are safer on the dialler's list.
        """
        try:
            if not self._lead():
                return Turn.STANDBY
            self._do_what_is_due()
            if not self._may_claim():
                return Turn.STOPPED
            room = self._room()
            if room <= 0:
                self._judge_at = 0.0
                return Turn.FULL
            limit = min(room, self._pace.batch_size)
            claim = self._list.claim(limit)
            self._outages.back("dialler_redis")
            if claim is None:
                return Turn.EMPTY
            self._settle(claim)
            self._judge_at = 0.0
            self._more_waits = len(claim.elements) >= limit
        except LeaseHeldError:
            return Turn.STANDBY
        except redis.RedisError as error:
            # Refusals too (no password, no memory, a key of another type): said once, and tried until mended.
            self._outages.away("dialler_redis", error)
            if isinstance(error, redis.OutOfMemoryError):
                self._make_room()
            # A claim whose answer was lost on the way is in the register.
            self._recover_at = 0.0
            return Turn.OUTAGE
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            self._outages.away("database", error)
            # A connection to a server that became a standby stays one; a new one may find the primary.
            self._engine.dispose()
            # What was claimed and not settled is in the register: take it up as soon as the database is back.
            self._recover_at = 0.0
            return Turn.OUTAGE
        return Turn.CLAIMED

    def recover(self) -> int:
        """Settle what was left behind, by whichever process; returns how many records were rescued."""
        rescued = self._recovery.run()
        self._recover_at = time.monotonic() + self._pace.recover_every
        return rescued

    def _lead(self) -> bool:
        # The claim script renews the lease as it claims; this covers the turns in which nothing is claimed.
        leading = self._list.hold_lease()
        if leading != self._leading:
            if leading:
                self._look_at_the_list()
            log.info("ingestor_leads" if leading else "ingestor_stands_by", owner=self._list.owner)
            # Only now: a look that failed for an outage is taken again.
            self._leading = leading
            metrics.gauge(metrics.LEADS, leading, source=self._source)
            self._recover_at = 0.0
            self._judge_at = 0.0
        return leading

    def _look_at_the_list(self) -> None:
        """Before the first claim: is this the integrators' list at all?"""
        reason = wrong_list(self._list.peek(PEEKED))
        if reason is not None:
            with self._engine.begin() as connection:
                if not was_released(connection, self._source, "wrong_list"):
                    raise_stop(connection, self._source, "wrong_list", f"the list {self._list.name} {reason}")

    def _do_what_is_due(self) -> None:
        if time.monotonic() >= self._recover_at:
            self.recover()
        if time.monotonic() >= self._tell_at:
            self._aside("sign of life", self._tell)
            if metrics.serving():
                self._aside("metrics of the list", self._tell_of_the_list)
            self._tell_at = time.monotonic() + self._pace.tell_every

    def _aside(self, what: str, tell: Callable[[], None]) -> None:
        """Do what only looks or tells: an error in it is said and costs nothing else, but for an outage."""
        try:
            tell()
        except (redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_outage(error) and not is_missing(error):
                raise
            self._outages.away(what, error)
        else:
            self._outages.back(what)

    def _tell(self) -> None:
        """Leave a sign of life for whoever asks from a machine that cannot see the dialler's Redis."""
        with self._engine.begin() as connection:
            beat(connection, INGESTOR, self._source, who=self._list.owner)

    def _tell_of_the_list(self) -> None:
        there = self._list.look(1)
        ages = [time.time() - at for at in map(dialed_at, (*there.left, *there.right)) if at is not None]
        for metric, value in (
            (metrics.LIST_RECORDS, there.waiting),
            (metrics.LIST_OLDEST, max(ages, default=0.0)),
            (metrics.OPEN_CLAIMS, there.claims),
            (metrics.OLDEST_CLAIM, there.oldest_claim_seconds or 0.0),
        ):
            metrics.gauge(metric, value, source=self._source)

    def _may_claim(self) -> bool:
        """Whether nothing stands against claiming; looks at the fuse after each claim, and now and then."""
        with self._engine.begin() as connection:
            self._unfinished, stopped = unfinished_batches(connection, self._source, self._pace.max_unfinished)
            stop = standing_stop(connection, self._source) if stopped else None
            if stop is None and time.monotonic() >= self._judge_at:
                share = recent_bad_share(connection, self._source, at_least=FUSE_RECORDS)
                self._trusted = share.records >= FUSE_RECORDS
                self._judge_at = time.monotonic() + self._pace.judge_every
                if reason := fuse_blows(share.records, share.bad):
                    raise_stop(connection, self._source, "fuse", reason)
                elif reason := counts_again(share.records, share.conflicts):
                    raise_stop(connection, self._source, "conflicts", reason)
                if reason:
                    stop = standing_stop(connection, self._source)
        self._outages.back("database")
        self._say_stopped(stop)
        return stop is None

    def _say_stopped(self, stop: Stop | None) -> None:
        if stop is not None and self._stopped_by is None:
            log.error(
                "ingestor_stopped_claiming",
                kind=stop.kind,
                reason=stop.reason,
                remedy=f"when the list is right after all: pipeline stops release --source {self._source}",
            )
        if stop is None and self._stopped_by is not None:
            log.warning("ingestor_released", kind=self._stopped_by.kind)
        self._stopped_by = stop

    def _linger(self) -> float:
        """How long to gather before the next claim; what fills a batch already needs no gathering."""
        return 0.0 if self._more_waits else self._pace.linger(self._unfinished.batches)

    def _room(self) -> int:
        """How many more records may be on their way."""
        if self._unfinished.batches >= self._pace.max_unfinished:
            return 0
        most = self._pace.max_unfinished_records if self._trusted else self._pace.probation_records
        return most - self._unfinished.records

    def _settle(self, claim: Claim, lock_seconds: float | None = None) -> None:
        with self._engine.begin() as connection:
            if lock_seconds is not None:
                wait_for_locks(connection, lock_seconds)
            batch = settle(
                connection, claim.id, self._source, claim.elements, resend_after_seconds=RESEND_AFTER_SECONDS
            )
        self._let_go(claim)
        if batch is not None:
            metrics.count(metrics.RECEIVED, batch.records, source=self._source)
            metrics.observe(metrics.BATCH_RECORDS, batch.records, source=self._source)
            log.info("batch_settled", batch_id=batch.batch_id, records=batch.records)
            self._send(batch)

    def _let_go(self, claim: Claim) -> None:
        if self._list.kept.keep_seconds:
            try:
                self._list.keep(claim)
            except redis.ResponseError as error:
                # Such as a user of ours that may not RENAME yet.
                self._outages.away("keeping settled claims", error)
            else:
                self._outages.back("keeping settled claims")
                return
        self._list.drop(claim.id)

    def _make_room(self) -> None:
        """Calls that the dialler cannot put on its list are lost: what we keep there only in case goes first."""
        with contextlib.suppress(redis.RedisError):
            self._list.kept.let_go(everything=True)

    def _leave(self) -> None:
        try:
            self._list.release_lease()
        except redis.RedisError as error:
            log.info("lease_left_to_run_out", error=str(error))
        self._list.close()
        if self._sign is not None:
            self._sign.gone()
