"""The number in the archive: found in whatever column of a part, and gone once its days are archived anew.

A part is never written over. What was erased in the database makes its day another one, which the archive's next run
writes as a new part, and removes the old one; here that run is not waited for.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.archive.arrow import arrow
from pipeline.archive.part_file import PartFile
from pipeline.archive.part_rows import known_parts
from pipeline.archive.run import archive_month
from pipeline.archive.state import still_there
from pipeline.calls.rules.rewriting import rewrite_record
from pipeline.database.engine import reading
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Engine

    from pipeline.archive.part_rows import KnownPart
    from pipeline.archive.rules.places import Place
    from pipeline.archive.store import ArchiveStore
    from pipeline.calls.rules.spellings import Spelled


class ArchivedError(PipelineError):
    """The archive holds the number, and cannot be rid of it as things stand."""


class Holding(NamedTuple):
    """A part that holds a number."""

    part: KnownPart
    call_ids: list[int]
    """Its calls that do."""

    @property
    def rows(self) -> int:
        """How many those are."""
        return len(self.call_ids)


def check_archive(engine: Engine, store: ArchiveStore | None) -> None:
    """Whether all that was archived can be looked at.

    Raises:
        ArchivedError: calls were archived, and there is no archive here.
    """
    with reading(engine) as connection:
        if store is None and known_parts(connection):
            raise ArchivedError("calls were archived, and ARCHIVE_URL is not set here: set it as it is for the workers")


def holding(engine: Engine, store: ArchiveStore, spelled: Spelled, *, of: Iterable[Place] = ()) -> Iterator[Holding]:
    """The parts that hold a number, all rows and columns read.

    Args:
        engine: the database, which knows the parts.
        store: the archive.
        spelled: the number.
        of: only these months; none: all.
    """
    wanted = set(of)
    with reading(engine) as connection:
        parts = [part for part in known_parts(connection) if not wanted or part.place in wanted]
    for part in parts:
        if call_ids := _calls_in(store, part, spelled):
            yield Holding(part, call_ids)


def erase_archived(engine: Engine, store: ArchiveStore, spelled: Spelled) -> Counter[str]:
    """Have the archive say what the database says by now, wherever it holds a number; returns what was written anew.

    What of another number's call quotes it stays, as it does in the database.

    Args:
        engine: the database, in which the number is erased.
        store: the archive.
        spelled: the number.

    Raises:
        ArchivedError: it holds it still, for the database has those calls no longer.
        BusyError: an archiving is under way.
        ArchiveAwayError: the store does not answer.
    """
    found = list(holding(engine, store, spelled))
    places = sorted({each.part.place for each in found})
    for place in places:
        archive_month(engine, store, place)
    left = holding(engine, store, spelled, of=places) if places else ()
    for each in left:
        with reading(engine) as connection:
            gone = set(each.call_ids) - still_there(connection, each.call_ids)
        if gone:
            month = each.part
            raise ArchivedError(
                f"archived calls of {month.day} hold it, {len(gone)} of which the database has no longer: bring them "
                f"back with `pipeline archive restore {month.month} --source {month.source}`, and run this again"
            )
    return Counter({"archive": sum(each.rows for each in found), "archive files": len(found)} if found else {})


def _calls_in(store: ArchiveStore, part: KnownPart, spelled: Spelled) -> list[int]:
    with store.fetched(part.place, part.name, sha256=part.sha256) as file:
        stored = PartFile(file, f"{part.place.folder}/{part.name}")
        try:
            return [call_id for table in stored.tables() for call_id in _calls_of(table, spelled)]
        finally:
            stored.close()


def _calls_of(table: Any, spelled: Spelled) -> Iterator[int]:
    """The calls of a table with the number in any cell. Only rows that may hold it are looked at closely."""
    arrays = (array for column in table.columns for array in column.chunks)
    if not any(_may_hold(array, spelled) for array in arrays):
        return
    is_own = arrow().compute.equal(table["client_number"], spelled.number)
    yield from table.filter(is_own)["id"].to_pylist()
    others = table.filter(arrow().compute.invert(is_own)).to_pylist()
    yield from (row["id"] for row in others if _is_in(row, spelled))


def _may_hold(array: Any, spelled: Spelled) -> bool:
    """Whether any text of an array, however deep, may hold the number; whatever this leaves out does not."""
    types, kind = arrow().types.types, array.type
    if types.is_struct(kind):
        return any(_may_hold(each, spelled) for each in array.flatten())
    if types.is_list(kind):
        return _may_hold(array.flatten(), spelled)
    if types.is_string(kind) or types.is_binary(kind):
        compute = arrow().compute
        return bool(compute.any(compute.match_substring_regex(array, spelled.sql)).as_py())
    return False


def _is_in(value: Any, spelled: Spelled) -> bool:
    if isinstance(value, dict):
        return any(_is_in(each, spelled) for each in value.values())
    if isinstance(value, list):
        return any(_is_in(each, spelled) for each in value)
    if isinstance(value, bytes):
        return rewrite_record(value, spelled, "") != value
    return isinstance(value, str) and spelled.is_in(value)
