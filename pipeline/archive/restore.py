"""A month is brought back: its rows go into the tables they came from, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.archive.month import alone, manifest_of
from pipeline.archive.part_file import PartFile
from pipeline.archive.restore_rows import RESTORED, Restoring
from pipeline.archive.rules.refused import NotRestorableError
from pipeline.database.audit import record_action
from pipeline.database.ranges import bring_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.archive.rules.manifest import Manifest
    from pipeline.archive.rules.places import Place
    from pipeline.archive.store import ArchiveStore

    Progress = Callable[[int, int], None]
    """Told how many calls were read, and of how many."""


class Restored(NamedTuple):
    """What came back."""

    place: Place
    calls: int
    """In the archive."""
    inserted: dict[str, int]
    """Rows that were not there, by table."""


def restore_month(
    engine: Engine,
    store: ArchiveStore,
    place: Place,
    *,
    who: str,
    progress: Progress = lambda _done, _of: None,
) -> Restored:
    """Bring back what the database has no longer of an archived month.

    Args:
        engine: the database, as the tables' owner.
        store: the archive.
        place: the month.
        who: does it.
        progress: told how far it is.

    Raises:
        NotArchivedError: there is no such month.
        NotRestorableError: some of its calls are there and differ; nothing was changed.
        BrokenArchiveError: a part cannot be believed; nothing was changed.
        ArchiveAwayError: the store does not answer; nothing was changed.
    """
    with alone(engine, place) as reader:
        manifest = manifest_of(reader, store, place)
        with engine.begin() as connection:
            restoring = Restoring(connection)
            _read(restoring, store, manifest, progress)
            differing = restoring.differences()
            if differing:
                raise NotRestorableError(
                    f"{place.said} is in the database in part, and not as it is archived: {'; '.join(differing)}. "
                    "Nothing was changed. `pipeline archive run` archives what is there; then it can be restored"
                )
            bring_back(connection, *restoring.span())
            restoring.enter_keys()
            inserted = {table.name: restoring.insert(table) for table in RESTORED}
            if any(inserted.values()):
                detail = {"source": place.source, "month": place.month, "rows": inserted}
                record_action(connection, who, "archive restored", detail)
    return Restored(place, manifest.sums.rows, {name: rows for name, rows in inserted.items() if rows})


def _read(restoring: Restoring, store: ArchiveStore, manifest: Manifest, progress: Progress) -> None:
    done = 0
    for part in manifest.parts:
        with store.fetched(manifest.place, part.name, sha256=part.sha256) as file:
            stored = PartFile(file, f"{manifest.place.folder}/{part.name}")
            try:
                for table in stored.tables():
                    restoring.take(table)
                    done += table.num_rows
                    progress(done, manifest.sums.rows)
            finally:
                stored.close()
