"""An archived month read back: its bytes, its rows, what they add up to, and the database's rows where those are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.archive.arrow import arrow
from pipeline.archive.columns import schema
from pipeline.archive.month import manifest_of
from pipeline.archive.part_file import PartFile
from pipeline.archive.part_rows import known_parts
from pipeline.archive.reading import read_rows
from pipeline.archive.rules.places import span_of
from pipeline.archive.rules.refused import ArchiveError
from pipeline.archive.rules.sums import Sums, differences
from pipeline.archive.state import LOOKED_AT, count_of
from pipeline.archive.summing import sums_of
from pipeline.database.engine import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import date

    from sqlalchemy import Connection, Engine

    from pipeline.archive.rules.manifest import Manifest, Part
    from pipeline.archive.rules.places import Place
    from pipeline.archive.store import ArchiveStore

    Progress = Callable[[int, int], None]
    """Told how many parts were read, and of how many."""


class Verified(NamedTuple):
    """What came of reading a month."""

    place: Place
    parts: int
    rows: int
    compared: int
    """Rows that the database has, too."""
    only_here: int
    """Rows that it has no longer."""
    problems: tuple[str, ...]


def verify_month(
    engine: Engine,
    store: ArchiveStore,
    place: Place,
    *,
    days: Collection[date] | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Verified:
    """Read a month of the archive to its end and compare it with its manifest and with the database.

    Args:
        engine: the database.
        store: the archive.
        place: the month.
        days: only the parts of these, whatever else is wrong; None: all of it.
        progress: told how far it is.

    Raises:
        NotArchivedError: there is no such month.
        ArchiveAwayError: the store does not answer.
    """
    try:
        with reading(engine) as connection:
            manifest = manifest_of(connection, store, place)
    except ArchiveError as error:
        return Verified(place, 0, 0, 0, 0, (str(error),))
    looks: list[_Look] = []
    problems: list[str] = []
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        problems += _unlike(connection, manifest) if days is None else ()
        parts = [part for part in manifest.parts if days is None or part.day in days]
        for at, part in enumerate(parts):
            progress(at, len(parts))
            look = _Look(connection, place, part)
            try:
                look.read(store)
            except ArchiveError as error:
                look.problems.append(str(error))
            looks.append(look)
        connection.rollback()
    progress(len(parts), len(parts))
    return Verified(
        place,
        len(looks),
        sum(look.sums.rows for look in looks),
        sum(look.compared for look in looks),
        sum(look.only_here for look in looks),
        (*problems, *(problem for look in looks for problem in look.problems)),
    )


def _unlike(connection: Connection, manifest: Manifest) -> Iterator[str]:
    """What the database has of the month and the manifest does not name, or names otherwise."""
    known = known_parts(connection, source=manifest.source, month=manifest.month)
    for day in manifest.place.days:
        whole = manifest.complete_through is None or span_of(day).until <= manifest.complete_through
        if whole and manifest.part_of(day) is None and (rows := count_of(connection, manifest.source, day)):
            yield (
                f"{day}: {rows} calls of the database are not archived: "
                f"`pipeline archive run --month {manifest.month}` writes them"
            )
    listed = {(part.day, part.name, part.sha256) for part in manifest.parts}
    if listed != {(part.day, part.name, part.sha256) for part in known}:
        yield (
            f"the manifest of {manifest.place.said} names other parts than table archive_parts: a run was cut off, or "
            f"the store is not the newest: `pipeline archive run --month {manifest.month}`"
        )


class _Look:
    """At one part."""

    def __init__(self, connection: Connection, place: Place, part: Part) -> None:
        self._connection = connection
        self._place = place
        self._part = part
        self.sums = Sums()
        self.compared = self.only_here = 0
        self.problems: list[str] = []

    def read(self, store: ArchiveStore) -> None:
        """Read it to its end."""
        name, changed, last = f"{self._place.folder}/{self._part.name}", 0, -1
        with store.fetched(self._place, self._part.name, sha256=self._part.sha256) as file:
            stored = PartFile(file, name)
            try:
                for table in stored.tables():
                    changed += self._compare(table)
                    ids = table["id"].to_pylist()
                    if ids != sorted(set(ids)) or ids[0] <= last:
                        self.problems.append(f"{name}: its rows are not by their ids, each once")
                    last = ids[-1]
            finally:
                stored.close()
        self.problems += [f"{name}: the manifest says {each}" for each in differences(self._part.sums, self.sums)]
        new = count_of(self._connection, self._place.source, self._part.day) - self.compared
        if changed or new > 0:
            self.problems.append(
                f"{self._part.day}: {changed} calls of the database are not as they are archived, and {max(new, 0)} "
                f"are not archived: `pipeline archive run --month {self._place.month}` writes that day anew"
            )

    def _compare(self, table: Any) -> int:
        """Add up rows, and count those that the database has otherwise."""
        self.sums += sums_of(table)
        here = read_rows(self._connection, table["id"].to_pylist())
        compute = arrow().compute
        both = table.filter(compute.is_in(table["id"], here["id"].combine_chunks()))
        self.compared += both.num_rows
        self.only_here += table.num_rows - both.num_rows
        return _differing(_comparable(here), _comparable(both))


def _differing(one: Any, other: Any) -> int:
    """How many rows of two tables differ: halves that are equal are not looked at closer."""
    if one.equals(other):
        return 0
    rows = one.num_rows
    if rows == 1:
        return 1
    half = rows // 2
    return _differing(one.slice(0, half), other.slice(0, half)) + _differing(one.slice(half), other.slice(half))


def _comparable(table: Any) -> Any:
    """The same without what changes when somebody looks at a stored file."""
    column = table["recording"].combine_chunks()
    kept = [field.name for field in schema().field("recording").type if field.name not in LOOKED_AT]
    arrays = [arrow().compute.struct_field(column, name) for name in kept]
    at = table.schema.get_field_index("recording")
    types = arrow().types
    seen = types.StructArray.from_arrays(arrays, names=kept, mask=column.is_null())
    return table.set_column(at, "recording", seen)
