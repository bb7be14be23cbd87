"""Stored recordings: read again and compared, deleted when their time is over."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pipeline.recordings import marker as recording_marker
from pipeline.recordings import retention_rows, verification_rows
from pipeline.recordings import store_rows as recording_stores
from pipeline.recordings.file_store import MARKER, Checksum
from pipeline.recordings.rules.ages import shortest
from pipeline.recordings.rules.encrypted import CannotDecryptError, stored_bytes
from pipeline.recordings.store_trouble import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.retention_rows import DueFile, KeptFile
    from pipeline.recordings.rules.ages import Age

    AgesOf = Callable[[Connection], Sequence[Age]]
    """For how long files are kept, as the rules are at the moment."""

EXPIRED_AT_ONCE = 50
"""Files deleted in one transaction, which holds their rows meanwhile: seconds at the most, even in an object store."""

UNDELETED_IN_A_ROW = 100
"""So many files that cannot be deleted, one after the other, and the run ends; the next begins behind them."""

VERIFIED_AT_ONCE = 50
"""Files read between two commits: as many are read again after a kill."""

UNREADABLE_IN_A_ROW = 3
"""So many files that cannot be read, one after the other, and the store is taken to be away."""

UNKNOWN_STORE = (
    f"The file is missing, and so is what shows that this is the store it was in, its marker {MARKER}: is the store "
    "mounted, and is it the right one? If so, run: pipeline recordings verify"
)


class Expired(NamedTuple):
    """What a run of retention came to.

    Attributes:
        deleted: files that are gone.
        undeleted: files that are past their retention and could not be deleted.
        example: why one of these could not.
    """

    deleted: int
    undeleted: int
    example: str | None


class Verification(NamedTuple):
    """A run over all stored files of a dialler; ``cleared`` wrong marks of other diallers' were taken back before."""

    run_id: int
    source: str
    began_at: datetime
    resumed: bool
    files: int
    size_bytes: int
    cleared: int


class Verified(NamedTuple):
    """One file that was read; ``problem`` is a sentence, or None."""

    file: KeptFile
    problem: str | None


def expire(engine: Engine, store: RecordingStore, ages_of: AgesOf, *, source: str | None = None) -> Expired:
    """Delete the files of calls dialled longer ago than they are kept; each has its own outcome, and its row says it.

    A file goes before its row says so, under the row's lock: a crash between finds the row unchanged and the file gone,
    and the next run takes that for done, if the store is the one that held it. A hold that is placed meanwhile, on the
    recording, its call or its number, waits for the lock and then sees the deletion. The rules are read again for each
    part: one that is set meanwhile counts.

    Args:
        engine: the database.
        store: where the files are.
        ages_of: for how long files are kept, by dialler and campaign; the last age of it is for all others.
        source: only this dialler's; None: all.

    Raises:
        StoreError: the store is away. What was deleted before is written down, and the next run goes on.
    """
    run = _Expiry(engine, store, ages_of, source)
    for tried_before in (None, run.began_at):
        while run.delete_some(tried_before) == EXPIRED_AT_ONCE:
            if run.in_a_row >= UNDELETED_IN_A_ROW:
                return run.outcome()
    return run.outcome()


class _Expiry:
    """One run of retention."""

    def __init__(self, engine: Engine, store: RecordingStore, ages_of: AgesOf, source: str | None) -> None:
        self._engine, self._store, self._ages_of, self._source = engine, store, ages_of, source
        self._deleted, self._problems = 0, 0
        self._example: str | None = None
        self._after: tuple[datetime, int] | None = None
        self.in_a_row = 0
        """How many could not be deleted since the last that could."""
        with engine.connect() as connection:
            self.began_at = retention_rows.now(connection)
            sources = [source] if source is not None else recording_stores.sources_with_files(connection)
            first_go = shortest(ages_of(connection))
        # Before anything is deleted: it is told by the files that are there.
        self._markers = {
            each: recording_marker.get_to_know(engine, store, each, older_than_days=first_go)
            for each in sources
            if first_go is not None
        }

    def outcome(self) -> Expired:
        return Expired(self._deleted, self._problems, self._example)

    def delete_some(self, tried_before: datetime | None) -> int:
        """Delete some files in one transaction; returns how many were tried."""
        deleted: list[DueFile] = []
        problems: list[tuple[int, str]] = []
        with self._engine.begin() as connection:
            batch = retention_rows.take_expired(
                connection,
                self._ages_of(connection),
                limit=EXPIRED_AT_ONCE,
                source=self._source,
                tried_before=tried_before,
                after=self._after if tried_before is None else None,
            )
            held = retention_rows.held_by_now(connection, [each.file.call_id for each in batch])
            away = self._delete([each for each in batch if each.file.call_id not in held], deleted, problems)
            for reason in sorted({each.reason for each in deleted}):
                ids = [each.file.call_id for each in deleted if each.reason == reason]
                retention_rows.mark_deleted(connection, ids, reason=reason)
            retention_rows.mark_undeleted(connection, problems)
        self._deleted += len(deleted)
        self._problems += len(problems)
        self._after = batch[-1].place if batch and tried_before is None else self._after
        if away is not None:
            raise away
        return len(batch)

    def _delete(
        self, batch: list[DueFile], deleted: list[DueFile], problems: list[tuple[int, str]]
    ) -> StoreError | None:
        """Delete files one by one; returns what the store says if it is away, and then no file is to blame."""
        for each in batch:
            file = each.file
            try:
                problem = self._delete_one(file)
            except StoreError as error:
                return error
            if problem is None:
                deleted.append(each)
                self.in_a_row = 0
                continue
            problems.append((file.call_id, problem))
            self._example = self._example or f"{file.path}: {problem}"
            self.in_a_row += 1
        return None

    def _delete_one(self, file: KeptFile) -> str | None:
        """Why a file could not be deleted, or None.

        Raises:
            StoreError: not even the store's marker can be asked for.
        """
        try:
            if self._store.delete(file.path):
                return None
        except StoreError as error:
            self._store.marker()
            return f"The file cannot be deleted: {error}."
        known = self._markers.get(file.source)
        return None if known is not None and self._store.marker() == known else UNKNOWN_STORE


def begin_verification(engine: Engine, *, who: str, source: str, afresh: bool = False) -> Verification:
    """Begin a run over all files of a dialler that are stored now, or go on with the one that was interrupted.

    Args:
        engine: the database.
        who: does it.
        source: the dialler. Only its own, for another's may be in a store that is not known here.
        afresh: leave an interrupted run as it is and begin another.
    """
    with engine.begin() as connection:
        run_id, began_at, resumed, cleared = verification_rows.begin_verification(
            connection, who=who, source=source, afresh=afresh
        )
        files, size_bytes = verification_rows.count_unverified(connection, source=source, began_at=began_at)
    return Verification(run_id, source, began_at, resumed, files, size_bytes, cleared)


def verify(engine: Engine, store: RecordingStore, run: Verification) -> Iterator[Verified]:
    """Read every file the run has not read yet; yields each, and writes down what came of it.

    Raises:
        StoreError: the store is away. What was read until then is written down, and the next run goes on from there.
    """
    after = 0
    unreadable: list[Verified] = []
    while True:
        with engine.connect() as connection:
            batch = verification_rows.next_unverified(
                connection, source=run.source, began_at=run.began_at, after=after, limit=VERIFIED_AT_ONCE
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
                verification_rows.mark_verified(connection, [(each.file.call_id, each.problem) for each in results])
    with engine.begin() as connection:
        verification_rows.mark_verified(connection, [(each.file.call_id, each.problem) for each in unreadable])
        verification_rows.end_verification(connection, run.run_id)
    with contextlib.suppress(StoreError):  # whoever verifies may have no right to write there
        recording_marker.know_again(engine, store, run.source, began_at=run.began_at)
    yield from unreadable


def _read(store: RecordingStore, batch: list[KeptFile], unreadable: list[Verified]) -> Iterator[list[Verified]]:
    """Read files one by one. Those that cannot be read are held back: a few in a row, and it is the store's fault."""
    for file in batch:
        try:
            problem = problem_of(file, store.checksum(file.path, key=file.key))
        except CannotDecryptError as error:
            problem = f"The file cannot be decrypted: {error}."
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
        return recording_stores.count_read(connection, run.source, began_at=run.began_at)[1]


def problem_of(file: KeptFile, found: Checksum | None) -> str | None:
    """What is wrong with what a store holds; None when it is what was stored."""
    if found is None:
        return "The file is missing."
    if found.size != file.size_bytes:
        return f"The file has {found.size} bytes; {file.size_bytes} were stored."
    if found != Checksum(file.size_bytes, bytes(file.sha256)):
        return "The file has the right size, but other bytes than were stored."
    return None


def size_problem_of(file: KeptFile, found: int | None) -> str | None:
    """What is wrong with a file by its size alone, that of what a store holds; None when it has the right one."""
    if found is None:
        return "The file is missing."
    wanted = stored_bytes(file.size_bytes, file.key)
    if found != wanted:
        return f"The file has {found} bytes; {wanted} were stored{', encrypted' if file.key else ''}."
    return None
