"""The manifest of a month as it is found, before anything is done by it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from pipeline.archive.part_rows import known_parts
from pipeline.archive.rules.manifest import read_manifest
from pipeline.archive.rules.places import part_number
from pipeline.archive.rules.refused import BusyError, NotArchivedError, NotWritableError
from pipeline.database.engine import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from pipeline.archive.rules.manifest import Manifest
    from pipeline.archive.rules.places import Place
    from pipeline.archive.store import ArchiveStore

_LOCK: Final = 712_004_330
"""An advisory lock of two keys, the other a month's folder: one writer of a month at a time."""


@contextlib.contextmanager
def alone(engine: Engine, place: Place) -> Iterator[Connection]:
    """Be the only one at a month; yields a connection that commits each statement.

    Raises:
        BusyError: another process is at it.
    """
    key = {"lock": _LOCK, "folder": place.folder}
    with reading(engine) as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:lock, hashtext(:folder))"), key):
            raise BusyError(f"another process is at the archive of {place.said}: try again when it is done")
        try:
            yield connection
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock, hashtext(:folder))"), key)


def manifest_of(connection: Connection, store: ArchiveStore, place: Place) -> Manifest:
    """The manifest of a month that must be there.

    Args:
        connection: the database, which knows whether it should be.
        store: the archive.
        place: the month.

    Raises:
        NotArchivedError: it is not.
        BrokenArchiveError: it cannot be believed.
    """
    known = known_parts(connection, source=place.source, month=place.month)
    raw = store.manifest(place)
    if raw is not None:
        return read_manifest(raw, place)
    if known:
        raise NotArchivedError(
            f"{len(known)} parts of {place.said} were archived, and this store has no manifest of it: see that "
            f"ARCHIVE_URL is the store it was archived in, or bring {place.folder} back from its backup"
        )
    raise NotArchivedError(f"{place.said} is not in this archive: `pipeline archive list` says what is archived")


def manifest_to_go_on(connection: Connection, store: ArchiveStore, place: Place) -> Manifest | None:
    """The manifest that a run goes on with; None: nothing of the month was ever archived.

    Raises:
        BrokenArchiveError: it cannot be believed.
        NotWritableError: it is not the newest one, or none although there was one: what is there may be another store.
    """
    raw = store.manifest(place)
    known = known_parts(connection, source=place.source, month=place.month)
    manifest = None if raw is None else read_manifest(raw, place)
    newest = max((part_number(part.name) or 0 for part in known), default=0)
    if newest > (0 if manifest is None else manifest.last_number):
        has = "no manifest of it" if manifest is None else "an older manifest of it"
        raise NotWritableError(
            f"{len(known)} parts of {place.said} were archived, and the store has {has}: see that ARCHIVE_URL is the "
            f"store it was archived in, or bring {place.folder} back from its backup. {anew_remedy(place)}"
        )
    if manifest is not None:
        there = set(store.names(place))
        if missing := [part.name for part in manifest.parts if part.name not in there]:
            raise NotWritableError(
                f"{place.folder} lacks {missing[0]}, which its manifest names: bring it back from its backup. "
                f"{anew_remedy(place)}"
            )
    return manifest


def anew_remedy(place: Place) -> str:
    """What else can be done where an archive is not whole."""
    words = f"pipeline archive run --month {place.month} --source {place.source} --anew"
    return f"While the database still has all of its calls, `{words}` writes it anew"
