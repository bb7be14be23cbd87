"""Recordings of a number that is erased: files deleted, which is proven by looking again, and nothing more fetched.

A file goes before its row says so, as retention has it: a crash between finds the row unchanged and the file gone, and
the next run takes that for done, if the store is the one that held it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import case, func, literal, or_, select, update

from pipeline.database.narrowing import among
from pipeline.database.tables import recordings
from pipeline.dialler.audio_body import EXTENSIONS
from pipeline.recordings import marker as recording_marker
from pipeline.recordings import store_rows
from pipeline.recordings.file_store import Place
from pipeline.recordings.retention import UNKNOWN_STORE
from pipeline.recordings.rules.outcome import RecordingState
from pipeline.recordings.scheduling import OF_ERASED
from pipeline.recordings.store_trouble import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from pipeline.recordings.file_store import RecordingStore

_ANY_AGE_DAYS: Final = 36_500
_STORED, _DOWNLOADING = RecordingState.STORED.value, RecordingState.DOWNLOADING.value


class Erased(NamedTuple):
    """What became of the recordings of some calls."""

    files: int
    size_bytes: int
    unfetched: int
    """Those that had no file, and get none."""


def stores_in_reach(engine: Engine, store: RecordingStore) -> dict[str, str]:
    """The diallers whose files this store holds, with what its marker says.

    Args:
        engine: the database.
        store: the one that is set here.

    Raises:
        StoreError: it is away.
    """
    with engine.connect() as connection:
        sources = store_rows.sources_with_files(connection)
    # Before anything is deleted: it is told by the files that are there.
    known = {
        source: recording_marker.get_to_know(engine, store, source, older_than_days=_ANY_AGE_DAYS) for source in sources
    }
    here = store.marker()
    return {source: marker for source, marker in known.items() if marker is not None and marker == here}


def in_hand(connection: Connection, call_ids: Sequence[int]) -> set[int]:
    """Those calls whose recording a worker is downloading at this moment."""
    of = recordings.c
    query = select(of.call_id).where(
        among(of.call_id, call_ids), of.state == _DOWNLOADING, of.due_at > func.clock_timestamp()
    )
    return set(connection.scalars(query))


def held_among(connection: Connection, call_ids: Sequence[int]) -> list[str]:
    """The references of those calls whose recording is under a hold."""
    of = recordings.c
    query = select(of.call_ref).where(among(of.call_id, call_ids), of.held_at.is_not(None)).order_by(of.call_id)
    return list(connection.scalars(query))


def files_of(connection: Connection, call_ids: Sequence[int]) -> dict[int, str]:
    """Calls that have a file, each with its dialler."""
    of = recordings.c
    query = select(of.call_id, of.source).where(
        among(of.call_id, call_ids), of.state == _STORED, or_(of.deleted_at.is_(None), of.key_month.is_not(None))
    )
    return {row.call_id: row.source for row in connection.execute(query)}


def erase_recordings(
    connection: Connection, store: RecordingStore, call_ids: Sequence[int], *, markers: Mapping[str, str]
) -> Erased:
    """Delete the files of calls, and have nothing fetched for them any more.

    Args:
        connection: the caller's transaction, which holds the rows from now on.
        store: where the files are.
        call_ids: none of them is being downloaded.
        markers: of the diallers whose files the store holds.

    Raises:
        StoreError: a file cannot be deleted, or it cannot be shown that it is gone.
    """
    found = connection.execute(select(recordings).where(among(recordings.c.call_id, call_ids)).with_for_update()).all()
    # One whose key was destroyed counts as deleted; its file may be there yet.
    kept = [row for row in found if row.state == _STORED and (row.deleted_at is None or row.key_month is not None)]
    for row in kept:
        _delete(store, row.path, markers.get(row.source))
    left = [row for row in found if row.state != _STORED]
    strays = [path for row in left for path in _left_behind(connection, store, row)]
    for path in strays:
        store.delete(path)
    _write(connection, [row.call_id for row in found])
    return Erased(len(kept) + len(strays), sum(row.size_bytes for row in kept), len(left))


def _delete(store: RecordingStore, path: str, marker: str | None) -> None:
    gone = store.delete(path)
    if not gone and (marker is None or store.marker() != marker):
        raise StoreError(f"{path}: {UNKNOWN_STORE}")
    if store.size(path) is not None:
        raise StoreError(f"{path} was deleted, and is there all the same")


def _left_behind(connection: Connection, store: RecordingStore, row: Any) -> Iterator[str]:
    """Files that somebody put there who was killed before they could say so."""
    if row.dialed_at is None:
        return
    for extension in EXTENSIONS:
        path = store.path_for(Place(row.source, row.call_ref, row.dialed_at, extension))
        if store.size(path) is not None and not connection.scalar(
            select(func.count()).where(recordings.c.path == path, recordings.c.call_id != row.call_id)
        ):
            yield path


def _write(connection: Connection, call_ids: Sequence[int]) -> None:
    of = recordings.c
    stored = of.state == _STORED
    connection.execute(
        update(recordings)
        .values(
            state=case((stored, of.state), else_=literal(RecordingState.ABSENT.value)),
            reason=case((stored, None), else_=literal(OF_ERASED)),
            ended_at=func.coalesce(of.ended_at, func.clock_timestamp()),
            deleted_at=func.coalesce(of.deleted_at, func.clock_timestamp()),
            deleted_reason=OF_ERASED,
            due_at=None,
            released_at=None,
            releases=0,
            sha256=None,
            key_month=None,
            verify_problem=None,
            delete_tried_at=None,
            delete_problem=None,
        )
        .where(among(of.call_id, call_ids))
    )
