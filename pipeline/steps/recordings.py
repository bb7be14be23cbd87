"""Recordings: schedule a batch's, find what is due, download one.

A download is two short transactions, one to claim the row and one to write what came of it; between them no
connection is held. A crash there leaves the row leased; when the lease runs out ``dispatch`` takes it back.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from pipeline.adapters.recording_store import NameTaken, Place, StoreError
from pipeline.domain.recording import Away, Broken, Fetched, RecordingState, Unacceptable, decide
from pipeline.storage import recordings
from pipeline.storage.recordings import DueRecording, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.adapters.dialler_api import DiallerApi
    from pipeline.adapters.recording_store import RecordingStore
    from pipeline.domain.recording import FetchResult, RetryPolicy
    from pipeline.storage.inbox import Span
    from pipeline.storage.recordings import Claim

STORE_SECONDS = 300.0
"""How long the store may take after the dialler's last byte: the lease is the longest fetch and this."""


class RecordingOutcome(NamedTuple):
    """What came of a download.

    Attributes:
        call_id: the call.
        state: the recording's state now; None when there was nothing to do, or another worker has it.
        reason: a sentence for the operator.
        attempts: how often it has been tried.
        wait_seconds: how long until its next try, if there is to be one.
        pause_seconds: how long nothing else should be fetched, for it would fail for the same reason.
        size_bytes: what was stored.
    """

    call_id: int
    state: RecordingState | None
    reason: str
    attempts: int = 0
    wait_seconds: float | None = None
    pause_seconds: float | None = None
    size_bytes: int | None = None

    def __str__(self) -> str:
        """As Flower and the log show it."""
        return f"{self.state or 'nothing done'}: {self.reason}"


def schedule(connection: Connection, span: Span, *, delay_seconds: float) -> int:
    """Enter the recordings of calls, the first try after the delay; returns how many are new.

    The caller holds the step's lock and the transaction.
    """
    return recordings.schedule(connection, span, delay_seconds=delay_seconds)


def dispatch(
    engine: Engine, *, limit: int, redispatch_after_seconds: float, source: str | None = None
) -> list[DueRecording]:
    """The recordings to send messages for now, those whose downloader crashed included.

    Args:
        engine: the database.
        limit: the most to take at once.
        redispatch_after_seconds: when a message may be taken for lost. Sending another does no harm: the
            recording is tried once for both.
        source: only this dialler's.
    """
    with engine.begin() as connection:
        return recordings.take_due(
            connection, limit=limit, redispatch_after_seconds=redispatch_after_seconds, source=source
        )


def download(
    engine: Engine,
    call_id: int,
    *,
    api: DiallerApi,
    store: RecordingStore,
    policy: RetryPolicy,
    dispatched_at: datetime | None = None,
    chance: Callable[[], float] = random.random,
) -> RecordingOutcome:
    """Try one recording, if it is waiting to be tried.

    Args:
        engine: the database.
        call_id: the call.
        api: the dialler the call came from; calls of others are left alone.
        store: where the recording goes.
        policy: waits and bounds.
        dispatched_at: of the message; a message whose try was already made does nothing. Without one, a
            waiting recording is tried at once, due or not.
        chance: for the jitter.
    """
    lease_seconds = api.longest_seconds + STORE_SECONDS
    with engine.begin() as connection:
        held = recordings.claim(
            connection, call_id, source=api.source, lease_seconds=lease_seconds, dispatched_at=dispatched_at
        )
    if held is None:
        return RecordingOutcome(
            call_id,
            None,
            "Nothing to do: it has ended, is being downloaded, was tried since, or is another dialler's.",
        )
    try:
        result, stored = _fetch(held, api, store)
    except Exception as error:
        bug = Broken(f"A bug in the pipeline ({type(error).__name__}); the worker's log has the traceback.")
        _settle(engine, held, bug, None, policy=policy, chance=chance())
        raise
    return _settle(engine, held, result, stored, policy=policy, chance=chance())


def _fetch(held: Claim, api: DiallerApi, store: RecordingStore) -> tuple[FetchResult, StoredFile | None]:
    try:
        with store.partial() as partial:
            fetched = api.fetch(held.call_ref, partial)
            if not isinstance(fetched, Fetched):
                return fetched, None
            place = Place(held.source, held.call_ref, held.dialed_at, fetched.extension)
            published = store.publish(partial, place, size=fetched.size, sha256=fetched.sha256)
    except StoreError as error:
        return Away(f"The store of the recordings is in trouble: {error}."), None
    if isinstance(published, NameTaken):
        return Unacceptable(published.reason), None
    return fetched, StoredFile(published.path, fetched.size, fetched.sha256)


def _settle(
    engine: Engine,
    held: Claim,
    result: FetchResult,
    stored: StoredFile | None,
    *,
    policy: RetryPolicy,
    chance: float,
) -> RecordingOutcome:
    decision = decide(result, attempts=held.attempts, age_seconds=held.age_seconds, policy=policy, chance=chance)
    with engine.begin() as connection:
        ours = recordings.settle(connection, held, decision, stored)
    if not ours:
        return RecordingOutcome(held.call_id, None, "It took longer than the lease, and another worker has it now.")
    return RecordingOutcome(
        held.call_id,
        decision.state,
        decision.reason,
        decision.attempts,
        decision.wait_seconds,
        decision.pause_seconds,
        stored.size_bytes if stored else None,
    )
