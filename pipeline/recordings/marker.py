"""Is this the store that holds a dialler's recordings? A marker in it says so.

A folder where nothing is mounted, or another bucket, has none of the files, and that must not be taken for their
deletion. So a store gets a marker, and the database knows what that says. It is written only where the files themselves
have shown that this is their store: nearly all of a sample are there, or of everything that ``verify`` has read.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from pipeline.recordings import store_rows as recording_stores
from pipeline.recordings.store_trouble import StoreError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.store_rows import SampledFile


def get_to_know(engine: Engine, store: RecordingStore, source: str, *, older_than_days: int) -> str | None:
    """What the marker of a dialler's store must say; None while this store has not shown to be the one.

    A store that is known stays it, whatever this one holds. One that is not, for only older code has used it, is marked
    when it has the files that it should have. One that cannot be marked, being full perhaps, is not known either: the
    files that are there can be deleted all the same.
    """
    with engine.connect() as connection:
        known = recording_stores.marker_of(connection, source)
        files = [] if known else recording_stores.sample(connection, source, older_than_days=older_than_days)
    if known:
        return known
    if not _nearly_all(sum(_is_there(store, file) for file in files), len(files)):
        return None
    try:
        return _mark(engine, store, source)
    except StoreError:
        return None


def know_again(engine: Engine, store: RecordingStore, source: str, *, began_at: datetime) -> None:
    """Mark a store whose files were all read, unless many of them were not whole; it may be another than before.

    Raises:
        StoreError: it cannot be marked.
    """
    with engine.connect() as connection:
        files, problems = recording_stores.count_read(connection, source, began_at=began_at)
    if _nearly_all(files - problems, files):
        _mark(engine, store, source)


def _is_there(store: RecordingStore, file: SampledFile) -> bool:
    try:
        return store.size(file.path) == file.stored_bytes
    except StoreError:
        return False


def _mark(engine: Engine, store: RecordingStore, source: str) -> str:
    marker = store.mark(str(uuid.uuid4()))
    with engine.begin() as connection:
        recording_stores.remember(connection, source, marker)
    return marker


def _nearly_all(there: int, files: int) -> bool:
    return files > 0 and 10 * there >= 9 * files
