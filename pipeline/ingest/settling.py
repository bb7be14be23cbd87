"""From a claim to a batch that is on its way: into the inbox, out of the dialler's Redis, and the first message."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import redis

from pipeline.batches.rules.steps import RESEND_AFTER_SECONDS
from pipeline.database.engine import wait_for_locks
from pipeline.ingest.inbox import settle
from pipeline.logs.setup import get_logger
from pipeline.monitoring import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Batch
    from pipeline.dialler.cdr_list import CdrList, Claim
    from pipeline.logs.setup import OutageLog

log = get_logger(__name__)


class Settling:
    """Settles claims.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        source: the dialler's name.
        send: sends the first message of a batch; False when the broker is away.
        send_alone: the same where nothing else is on its way, so that a worker has it at once.
        outages: where is said that settled claims cannot be kept, once.
    """

    def __init__(
        self,
        cdr_list: CdrList,
        engine: Engine,
        source: str,
        *,
        send: Callable[[Batch], bool],
        send_alone: Callable[[Batch], bool],
        outages: OutageLog,
    ) -> None:
        self._list = cdr_list
        self._engine = engine
        self._source = source
        self._send = send
        self._send_alone = send_alone
        self._outages = outages

    def settle(self, connection: Connection, claim: Claim) -> Batch | None:
        """Write a claim as a batch, in the caller's transaction; None when somebody did before."""
        return settle(connection, claim.id, self._source, claim.elements, resend_after_seconds=RESEND_AFTER_SECONDS)

    def settle_left(self, claim: Claim, lock_seconds: float) -> None:
        """Settle a claim that somebody left behind.

        Args:
            claim: the claim.
            lock_seconds: how long whoever else may be settling it is waited for.
        """
        with self._engine.begin() as connection:
            wait_for_locks(connection, lock_seconds)
            batch = self.settle(connection, claim)
        self.settled(claim, batch)

    def settled(self, claim: Claim, batch: Batch | None, *, alone: bool = False) -> None:
        """What follows the commit: Redis forgets the claim, and the workers are woken."""
        self._let_go(claim)
        if batch is not None:
            metrics.count(metrics.RECEIVED, batch.records, source=self._source)
            metrics.observe(metrics.BATCH_RECORDS, batch.records, source=self._source)
            log.info("batch_settled", batch_id=batch.batch_id, records=batch.records)
            send = self._send_alone if alone else self._send
            send(batch)

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

    def make_room(self) -> None:
        """Calls that the dialler cannot put on its list are lost: what we keep there only in case goes first."""
        with contextlib.suppress(redis.RedisError):
            self._list.kept.let_go(everything=True)
