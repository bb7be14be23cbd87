"""Stored recordings: read again and compared, deleted when their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.adapters.recording_store import Checksum, StoreError
from pipeline.storage import recording_keeping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine

    from pipeline.adapters.recording_store import RecordingStore
    from pipeline.storage.recording_keeping import KeptFile

EXPIRED_AT_ONCE = 50
"""Files deleted in one transaction, which holds their rows meanwhile: seconds at the most, even in an object store."""

VERIFIED_AT_ONCE = 50
"""Files read between two commits: as many are read again after a kill."""

UNREADABLE_IN_A_ROW = 3
"""So many files that cannot be read, one after the other, and the store is taken to be away."""


class Verification(NamedTuple):
    """A run over all stored files."""

    run_id: int
    began_at: datetime
    resumed: bool
    files: int
    size_bytes: int


class Verified(NamedTuple):
    """One file that was read; ``problem`` is a sentence, or None."""

    file: KeptFile
    problem: str | None


def expire(engine: Engine, store: RecordingStore, *, older_than_days: int, source: str | None = None) -> int:
    """Delete the files of calls dialled longer ago than that, and say so in their rows; returns how many.

    A file goes before its row says so, under the row's lock: a crash between finds the row unchanged and the file gone,
    and the next run takes that for done. A hold that is placed meanwhile waits for the lock and then sees the deletion.

    Args:
        engine: the database.
        store: where the files are.
        older_than_days: by when the calls were dialled.
        source: only this dialler's; None: all.

    Raises:
        StoreError: a file cannot be deleted; those before it are, and the next run goes on.
    """
    reason = f"Older than RECORDINGS_RETENTION_DAYS={older_than_days}."
    deleted = 0
    while True:
        with engine.begin() as connection:
            batch = recording_keeping.take_expired(
                connection, older_than_days=older_than_days, limit=EXPIRED_AT_ONCE, source=source
            )
            for file in batch:
                store.delete(file.path)
            recording_keeping.mark_deleted(connection, [file.call_id for file in batch], reason=reason)
        deleted += len(batch)
        if len(batch) < EXPIRED_AT_ONCE:
            return deleted


def begin_verification(engine: Engine, *, who: str, afresh: bool = False) -> Verification:
    """Begin a run over all files that are stored now, or go on with the one that was interrupted.

    Args:
        engine: the database.
        who: does it.
        afresh: leave an interrupted run as it is and begin another.
    """
    with engine.begin() as connection:
        run_id, began_at, resumed = recording_keeping.begin_verification(connection, who=who, afresh=afresh)
        files, size_bytes = recording_keeping.count_unverified(connection, began_at=began_at)
    return Verification(run_id, began_at, resumed, files, size_bytes)


def verify(engine: Engine, store: RecordingStore, run: Verification) -> Iterator[Verified]:
    """Read every file the run has not read yet; yields each, and writes down what came of it.

    Raises:
        StoreError: the store is away. What was read until then is written down, and the next run goes on from there.
    """
    after = 0
    unreadable: list[Verified] = []
    while True:
        with engine.connect() as connection:
            batch = recording_keeping.next_unverified(
                connection, began_at=run.began_at, after=after, limit=VERIFIED_AT_ONCE
            )
        if not batch:
            break
        after = batch[-1].call_id
        results: list[Verified] = []
        try:
            for verified in _read(store, batch, unreadable):
                results += verified
                yield from verified
        finally:
            with engine.begin() as connection:
                recording_keeping.mark_verified(connection, [(each.file.call_id, each.problem) for each in results])
    with engine.begin() as connection:
        recording_keeping.mark_verified(connection, [(each.file.call_id, each.problem) for each in unreadable])
        recording_keeping.end_verification(connection, run.run_id)
    yield from unreadable


def _read(store: RecordingStore, batch: list[KeptFile], unreadable: list[Verified]) -> Iterator[list[Verified]]:
    """Read files one by one. Those that cannot be read are held back: a few in a row, and it is the store's fault."""
    for file in batch:
        try:
            problem = _problem(file, store.checksum(file.path))
        except StoreError as error:
            unreadable.append(Verified(file, f"The file cannot be read: {error}."))
            if len(unreadable) >= UNREADABLE_IN_A_ROW:
                raise
            continue
        yield [*unreadable, Verified(file, problem)]
        unreadable.clear()


def problems_of(engine: Engine, run: Verification) -> int:
    """How many files the run found to differ, in all its parts."""
    with engine.connect() as connection:
        return recording_keeping.count_problems(connection, began_at=run.began_at)


def _problem(file: KeptFile, found: Checksum | None) -> str | None:
    if found is None:
        return "The file is missing."
    if found.size != file.size_bytes:
        return f"The file has {found.size} bytes; {file.size_bytes} were stored."
    if found != Checksum(file.size_bytes, bytes(file.sha256)):
        return "The file has the right size, but other bytes than were stored."
    return None
