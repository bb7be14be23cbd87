"""What somebody left on the dialler's Redis: claims that are not settled, and settled ones that a failover lost."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import redis
from sqlalchemy.exc import DBAPIError

from pipeline.database.engine import is_lock_timeout, is_outage
from pipeline.database.identity import database_identity
from pipeline.dialler.cdr_list import ForeignClaimError, claim_named
from pipeline.errors import cut
from pipeline.ingest.inbox import unknown_claims
from pipeline.logs.setup import get_logger
from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.dialler.cdr_list import CdrList, Claim

log = get_logger(__name__)

LOCK_SECONDS: Final = 0.25
"""How long a claim's rows are waited for: whoever holds them may stand still for ever, and intake waits meanwhile."""

ASKED_AT_ONCE: Final = 500
"""Kept claims that the database is asked for in one question."""


class Recovery:
    """Settles what was left behind.

    Only the holder of the lease recovers, and it has no claim of its own at that point. Should a former holder still
    live, both settle the same claim and the database lets one of them. A claim that cannot be settled now is said once
    and passed over: neither a peer that hangs nor what others wrote under our names stops intake.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        settle: settles a claim, waiting for locks no longer than so many seconds.
    """

    def __init__(self, cdr_list: CdrList, engine: Engine, settle: Callable[[Claim, float], None]) -> None:
        self._list = cdr_list
        self._engine = engine
        self._settle = settle
        self._said: set[tuple[str, str]] = set()

    def run(self) -> int:
        """Settle every open claim, and every kept one that the database has lost; returns how many records it were."""
        rescued = sum(map(self._take_up, self._list.register()))
        rescued += sum(map(self._take_up, self._searched()))
        if self._list.kept.keep_seconds:
            rescued += self._after_a_failover()
        self._list.kept.let_go()
        return rescued

    def _searched(self) -> list[bytes]:
        try:
            return self._list.unregistered()
        except redis.ResponseError as error:
            if ("SCAN", str(error)) not in self._said:
                self._said.add(("SCAN", str(error)))
                log.warning("claims_not_searched", error=str(error), remedy="allow SCAN, as in deploy/redis-users.acl")
            return []

    def _take_up(self, name: bytes) -> int:
        """Settle the claim of this name; returns how many records it held."""
        claim_id = claim_named(name)
        if claim_id is None:
            return self._pass_over(name, "its name is not of our making")
        try:
            claim = self._list.read_claim(claim_id, at_most=PLACES)
        except ForeignClaimError as error:
            return self._pass_over(name, str(error))
        if not claim.elements:
            self._list.drop(claim_id)
            return 0
        return self._settled(claim, "claim_recovered")

    def _settled(self, claim: Claim, event: str) -> int:
        name = str(claim.id).encode()
        try:
            self._settle(claim, LOCK_SECONDS)
        except DBAPIError as error:
            if is_lock_timeout(error):
                return self._pass_over(name, "another process is settling it, and may stand still")
            if is_outage(error):
                raise
            return self._pass_over(name, f"the database refuses it: {error.orig}")
        log.warning(event, claim=str(claim.id), records=len(claim.elements))
        return len(claim.elements)

    def _pass_over(self, name: bytes, reason: str) -> int:
        shown = cut(name.decode(errors="backslashreplace"))
        if (shown, reason) not in self._said:
            self._said.add((shown, reason))
            log.error("claim_passed_over", claim=shown, reason=cut(reason, 300))
        return 0

    def _after_a_failover(self) -> int:
        """Settle the kept claims that the database does not know, when it is not the one that they were settled in."""
        with self._engine.begin() as connection:
            identity = database_identity(connection)
        before = self._list.kept.database()
        if identity is None or identity == before:
            return 0
        lost, left = self._settle_lost()
        if before is not None:
            log.warning("database_changed", before=before, now=identity, records_settled_again=lost)
        if not left:
            self._list.kept.stored_in(identity)
        return lost

    def _settle_lost(self) -> tuple[int, bool]:
        """How many records were settled again, and whether a claim is left over."""
        records, left = 0, False
        kept = iter(self._list.kept)
        while some := list(itertools.islice(kept, ASKED_AT_ONCE)):
            with self._engine.begin() as connection:
                lost = unknown_claims(connection, some)
            for claim_id in lost:
                claim = self._list.read_kept(claim_id)
                if claim.elements:
                    settled = self._settled(claim, "claim_settled_again")
                    records += settled
                    left = left or not settled
        return records, left
