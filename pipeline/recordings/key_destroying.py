"""Destroying the key of a month: what stands against it, the key itself, and then the files that nobody can read.

The key goes before the rows say so, under their locks, as a file goes before its row in retention: a crash between
finds the key gone and the rows unchanged, and destroying it again ends the same. A hold that is placed meanwhile waits
for the lock and then sees the deletion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.database.audit import record_action
from pipeline.errors import PipelineError
from pipeline.recordings import key_rows, retention_rows, store_rows
from pipeline.recordings.rules.encrypted import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy import Connection, Engine

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.key_rows import OfAMonth
    from pipeline.recordings.keys import RecordingKeys
    from pipeline.recordings.rules.encrypted import KeyName

    MoreAgainst = Callable[[Connection], Iterable[str]]
    """What else stands against it: how long recordings must be kept is known above."""

AT_ONCE: Final = 50
"""Files deleted in one transaction, which holds their rows meanwhile."""
REASON: Final = "The key that it was encrypted with was destroyed: {because}"


class DestroyRefusedError(PipelineError):
    """Something stands against destroying a key; its text says what."""


class Shredding(NamedTuple):
    """What destroying a key comes to, or came to."""

    source: str
    month: str
    files: int
    size_bytes: int
    waiting: int
    """Recordings of that month that are not fetched yet, and will not be kept."""


def look(connection: Connection, keys: RecordingKeys, name: KeyName) -> Shredding:
    """What destroying a key comes to.

    Raises:
        DestroyRefusedError: there is no such key, nor a file that is encrypted with it.
        StoreError: the folder of keys cannot be read.
    """
    of_it = next((each for each in key_rows.by_month(connection, name.source) if each.month == name.month), None)
    if of_it is None and not any(each.month == name.month for each in keys.of(name.source)):
        raise DestroyRefusedError(f"{name} is not there, and no recording is encrypted with it")
    waiting, _ = key_rows.waiting_of(connection, name)
    return Shredding(*name, *_counts(of_it), waiting)


def _counts(of_it: OfAMonth | None) -> tuple[int, int]:
    return (of_it.files, of_it.size_bytes) if of_it else (0, 0)


def against(connection: Connection, name: KeyName) -> Iterator[str]:
    """What stands against destroying a key, each as a sentence; whoever may decide must remove it first."""
    if end_of(name.month) > retention_rows.now(connection):
        yield f"{name.month} is not over (UTC): recordings of it are still to come"
    held = key_rows.held_of(connection, name)
    if held is not None:
        some = ", ".join(held.call_refs)
        yield f"recordings of it are under hold, or their call or number: {held.recordings:,}, such as {some}"
    _, in_hand = key_rows.waiting_of(connection, name)
    if in_hand:
        yield f"recordings of that month are just being downloaded: {in_hand:,}; try again in a moment"


def foresee(engine: Engine, keys: RecordingKeys, name: KeyName, *, also: MoreAgainst) -> tuple[Shredding, list[str]]:
    """What destroying a key comes to, and what stands against it; nothing is changed.

    Raises:
        DestroyRefusedError: there is no such key, nor a file that is encrypted with it.
        StoreError: the folder of keys cannot be read.
    """
    with engine.connect() as connection:
        return look(connection, keys, name), [*against(connection, name), *also(connection)]


def destroy(
    engine: Engine, keys: RecordingKeys, name: KeyName, *, who: str, because: str, also: MoreAgainst
) -> Shredding:
    """Destroy a key, prove that it is gone, and write down that its files are; to the same effect however often.

    Args:
        engine: the database.
        keys: the folder of keys.
        name: which.
        who: does it.
        because: why, for the record.
        also: what else stands against it.

    Raises:
        DestroyRefusedError: something stands against it, or there is no such key; nothing was changed.
        StoreError: it cannot be deleted, or it cannot be shown that it is gone; no row was changed.
    """
    with engine.begin() as connection:
        found = look(connection, keys, name)
        _check(connection, name, also)
        key_rows.mark_unreadable(connection, name, reason=REASON.format(because=because))
        _check(connection, name, also)  # what was held meanwhile is not marked, and is seen now
        keys.destroy(name)
        detail = {"source": name.source, "month": name.month, "files": found.files, "reason": because}
        record_action(connection, who, "recordings key destroyed", detail)
    return found


def _check(connection: Connection, name: KeyName, also: MoreAgainst) -> None:
    if reasons := [*against(connection, name), *also(connection)]:
        raise DestroyRefusedError(f"{name} is not destroyed: {'; '.join(reasons)}")


def remove_left(engine: Engine, store: RecordingStore, keys: RecordingKeys, source: str) -> int:
    """Delete the files of a dialler's destroyed keys, which nobody can read; returns how many are gone.

    Raises:
        StoreError: the store or the folder of keys is away. The next run goes on.
    """
    months = [each.month for each in keys.of(source) if each.destroyed_at is not None]
    removed = 0
    while months:
        with engine.begin() as connection:
            batch = key_rows.take_left(connection, source, months, limit=AT_ONCE)
            known = store_rows.marker_of(connection, source)
            # A file that is missing is gone where this is the store that it was in.
            gone = [
                file.call_id
                for file in batch
                if store.delete(file.path) or (known is not None and store.marker() == known)
            ]
            key_rows.mark_gone(connection, gone)
        removed += len(gone)
        if len(batch) < AT_ONCE or not gone:
            break
    return removed
