"""Recordings: find what is due, download one.

A download is two short transactions, one to claim the row and one to write what came of it; between them no
connection is held. A crash there leaves the row leased; when the lease runs out ``dispatch`` takes it back.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError

from pipeline.database.engine import is_outage, reading
from pipeline.dialler.rules.answers import Away, Broken, Fetched, Unacceptable
from pipeline.recordings import key_rows, store_rows
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings import queue as recording_queue
from pipeline.recordings import rows as recordings
from pipeline.recordings.file_store import MARKER, NameTaken, Place
from pipeline.recordings.keys import KeyDestroyedError
from pipeline.recordings.rows import DueRecording, StoredFile
from pipeline.recordings.rules.encrypted import KeyName
from pipeline.recordings.rules.outcome import RecordingState, decide, ends_pause
from pipeline.recordings.store_trouble import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.dialler.http_api import DiallerApi
    from pipeline.dialler.rules.answers import FetchResult
    from pipeline.recordings.encryption import EncryptedPartial
    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.partial_files import Partial
    from pipeline.recordings.pauses import Pause
    from pipeline.recordings.rows import Claim
    from pipeline.recordings.rules.outcome import Decision, RetryPolicy
    from pipeline.recordings.rules.pace import Limits

LEASE_SECONDS = 12.0
"""How long a recording stays with a worker that is not heard of; a live one renews it three times as often."""

STORE_SECONDS = 300.0
"""How long the store may take after the dialler's last byte; a lease is renewed no longer than that."""

REDISPATCH_AFTER_SECONDS = 30.0
"""When a message that nobody began may be taken for lost."""


NOT_THE_STORE = (
    f"The store of the recordings is not the one that is known, by its marker {MARKER}: is it mounted, and is it the "
    "right one? If recordings are to go here from now on, copy the marker, or the files and run: "
    "pipeline recordings verify"
)


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
        pause_began: the pause of the whole queue that this try began.
        pause_ended: the pause that it ended.
    """

    call_id: int
    state: RecordingState | None
    reason: str
    attempts: int = 0
    wait_seconds: float | None = None
    pause_seconds: float | None = None
    size_bytes: int | None = None
    pause_began: Pause | None = None
    pause_ended: Pause | None = None

    def __str__(self) -> str:
        """As Flower and the log show it."""
        return f"{self.state or 'nothing done'}: {self.reason}"


def dispatch(
    engine: Engine,
    *,
    limits: Limits,
    redispatch_after_seconds: float = REDISPATCH_AFTER_SECONDS,
    source: str | None = None,
) -> list[DueRecording]:
    """The recordings to send messages for now, those whose downloader crashed included.

    Args:
        engine: the database.
        limits: of each dialler, over all workers and machines.
        redispatch_after_seconds: when a message may be taken for lost. Sending another does no harm: the
            recording is tried once for both.
        source: only this dialler's.
    """
    sources = sources_with_due(engine) if source is None else [source]
    due: list[DueRecording] = []
    for each in sources:
        with engine.begin() as connection:
            due += recording_queue.hand_out(
                connection, each, limits=limits, redispatch_after_seconds=redispatch_after_seconds
            )
    return due


def sources_with_due(engine: Engine) -> list[str]:
    """The diallers that have a recording due."""
    with reading(engine) as connection:
        return recording_queue.sources_with_due(connection)


def give_back(engine: Engine, unsent: Sequence[DueRecording]) -> None:
    """Recordings whose messages could not be sent: they are due, and count as under way no longer."""
    with engine.begin() as connection:
        recordings.give_back(connection, unsent)


def download(
    engine: Engine,
    call_id: int,
    *,
    api: DiallerApi,
    store: RecordingStore,
    policy: RetryPolicy,
    dispatched_at: datetime | None = None,
    chance: Callable[[], float] = random.random,
    moved: Callable[[], None] = lambda: None,
) -> RecordingOutcome:
    """Try one recording, if it is waiting to be tried.

    Args:
        engine: the database.
        call_id: the call.
        api: the dialler the call came from; calls of others are left alone.
        store: where the recording goes.
        policy: waits and bounds.
        dispatched_at: of the message; a message whose try was already made does nothing, and one that comes during a
            pause is put back. Without one, a waiting recording is tried at once, due or not, paused or not.
        chance: for the jitter.
        moved: called whenever some of it has come or was stored.
    """
    with engine.begin() as connection:
        held = recordings.claim(
            connection, call_id, source=api.source, lease_seconds=LEASE_SECONDS, dispatched_at=dispatched_at
        )
        if held is None:
            return _not_ours(connection, call_id, api.source, dispatched_at)
        marker = store_rows.marker_of(connection, held.source)
        needed = key_rows.newest_month(connection, held.source) if store.encrypts else None
    try:
        with _leased(engine, held, longest_seconds=api.longest_seconds + STORE_SECONDS):
            result, stored = _fetch(held, api, store, moved, marker=marker, needed=needed)
    except Exception as error:
        bug = Broken(f"A bug in the pipeline ({type(error).__name__}); the worker's log has the traceback.")
        _settle(engine, held, bug, None, policy=policy, chance=chance())
        raise
    return _settle(engine, held, result, stored, policy=policy, chance=chance())


def _not_ours(connection: Connection, call_id: int, source: str, dispatched_at: datetime | None) -> RecordingOutcome:
    if dispatched_at is not None and recordings.put_back(
        connection, call_id, source=source, dispatched_at=dispatched_at
    ):
        return RecordingOutcome(
            call_id, RecordingState.SCHEDULED, "Put back unharmed: the queue of this dialler is paused."
        )
    return RecordingOutcome(
        call_id,
        None,
        "Nothing to do: it has ended, is being downloaded, was tried since, or is another dialler's.",
    )


@contextlib.contextmanager
def _leased(engine: Engine, held: Claim, *, longest_seconds: float) -> Iterator[None]:
    """Renew the lease while the block runs, so that it can be short: a worker that was killed is soon replaced."""
    done = threading.Event()
    until = time.monotonic() + longest_seconds

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 3) and time.monotonic() < until:
            try:
                with engine.begin() as connection:
                    if not recordings.renew(connection, held, lease_seconds=LEASE_SECONDS):
                        return
            except DBAPIError as error:
                if not is_outage(error):
                    raise

    threading.Thread(target=renew, name=f"lease of {held.call_id}", daemon=True).start()
    try:
        yield
    finally:
        done.set()


class _Watched:
    """A sink that tells when something comes."""

    def __init__(self, partial: Partial | EncryptedPartial, moved: Callable[[], None]) -> None:
        self._partial, self._moved = partial, moved

    def write(self, data: bytes, /) -> None:
        self._partial.write(data)
        self._moved()

    def clear(self) -> None:
        self._partial.clear()


def _fetch(
    held: Claim,
    api: DiallerApi,
    store: RecordingStore,
    moved: Callable[[], None],
    *,
    marker: str | None,
    needed: str | None,
) -> tuple[FetchResult, StoredFile | None]:
    try:
        # A folder where nothing is mounted takes a file like any other. An object store is there, or says it is not.
        if marker is not None and store.is_folder and store.marker() != marker:
            return Away(NOT_THE_STORE, store=True), None
        with store.recording(KeyName.at(held.source, held.dialed_at), needed=needed) as partial:
            fetched = api.fetch(held.call_ref, _Watched(partial, moved))
            moved()
            if not isinstance(fetched, Fetched):
                return fetched, None
            place = Place(held.source, held.call_ref, held.dialed_at, fetched.extension)
            published = store.publish(partial, place, size=fetched.size, sha256=fetched.sha256)
    except KeyDestroyedError as error:
        return Unacceptable(f"It cannot be kept: {error}."), None
    except StoreError as error:
        return Away(f"The store of the recordings is in trouble: {error}.", store=True), None
    if isinstance(published, NameTaken):
        return Unacceptable(published.reason), None
    return fetched, StoredFile(published.path, fetched.size, fetched.sha256, published.key_month)


def _settle(
    engine: Engine,
    held: Claim,
    result: FetchResult,
    stored: StoredFile | None,
    *,
    policy: RetryPolicy,
    chance: float,
) -> RecordingOutcome:
    decision = decide(
        result,
        attempts=held.attempts,
        age_seconds=held.age_seconds,
        policy=policy,
        chance=chance,
        failed_probes=0 if held.failed_probes is None else held.failed_probes + 1,
        suspect=held.suspect,
    )
    with engine.begin() as connection:
        # The pause first, as everywhere, so that no two transactions wait for each other.
        began, ended = _pause(connection, held, decision, result)
        ours = recordings.settle(connection, held, decision, stored)
    outcome = RecordingOutcome(
        held.call_id,
        decision.state,
        decision.reason,
        decision.attempts,
        decision.wait_seconds,
        decision.pause_seconds,
        stored.size_bytes if stored else None,
        began,
        ended,
    )
    if ours:
        return outcome
    late = RecordingOutcome(held.call_id, None, "It took longer than the lease, and another worker has it now.")
    return late._replace(pause_began=began, pause_ended=ended)


def _pause(
    connection: Connection, held: Claim, decision: Decision, result: FetchResult
) -> tuple[Pause | None, Pause | None]:
    """What a try means for the queue of its dialler: the pause it began, and the one it ended."""
    if decision.pause_kind is not None:
        return recording_pauses.begin(connection, held.source, decision, call_id=held.call_id), None
    if held.failed_probes is None:
        return None, None
    for pause in recording_pauses.standing(connection, held.source):
        if ends_pause(result, pause.kind):
            ended = recording_pauses.end(connection, held.source, call_id=held.call_id, claimed_at=held.claimed_at)
            return None, ended
        recording_pauses.probe_again(connection, held.source, held.call_id)
    return None, None
