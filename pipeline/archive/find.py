"""A call that the database has no longer is looked for in the parts that may hold it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.archive.columns import DECIMALS
from pipeline.archive.part_file import PartFile
from pipeline.archive.part_rows import KnownPart, known_parts
from pipeline.archive.rules.amounts import as_written, without_zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from pipeline.archive.store import ArchiveStore

    Progress = Callable[[int, int], None]
    """Told how many parts were read, and of how many."""


class Found(NamedTuple):
    """A call in the archive."""

    part: KnownPart
    call: dict[str, Any]
    """Its row, but for the records it came from."""


def parts_to_look_in(connection: Connection, source: str | None) -> list[KnownPart]:
    """The parts of which the database has not every call any more, the newest first.

    Args:
        connection: the database.
        source: one dialler; None all.
    """
    known = known_parts(connection, source=source)
    query = text("SELECT id FROM calls WHERE id = ANY(cast(:ids AS bigint[]))")
    there = set(connection.scalars(query, {"ids": [part.first_record for part in known]}))
    return sorted((part for part in known if part.first_record not in there), key=lambda each: each.day, reverse=True)


def find_calls(
    store: ArchiveStore, parts: list[KnownPart], call_ref: str, *, progress: Progress = lambda _done, _of: None
) -> Iterator[Found]:
    """The archived calls of a reference: no more than one of each dialler.

    Args:
        store: the archive.
        parts: where to look.
        call_ref: the dialler's internal call reference.
        progress: told how far it is.

    Raises:
        BrokenArchiveError: a part cannot be read.
        ArchiveAwayError: the store does not answer.
    """
    found: set[str] = set()
    for at, part in enumerate(parts):
        progress(at, len(parts))
        if part.source not in found and (call := _in_part(store, part, call_ref)) is not None:
            found.add(part.source)
            yield Found(part, call)
    progress(len(parts), len(parts))


def _in_part(store: ArchiveStore, part: KnownPart, call_ref: str) -> dict[str, Any] | None:
    with store.opened(part.place, part.name) as file:
        found = PartFile(file, f"{part.place.folder}/{part.name}").find("call_ref", call_ref)
    return None if found is None else _told(found)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is told: without the records it came from, and amounts as they were written."""
    left_out = {"raw", "other_records", "versions"}
    return {name: _plain(value) for name, value in row.items() if name not in left_out and not isinstance(value, bytes)}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return without_zeros(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: as_written(each, value[f"{name}{DECIMALS}"]) if f"{name}{DECIMALS}" in value else _plain(each)
        for name, each in value.items()
        if not name.endswith(DECIMALS) and not isinstance(each, bytes)
    }
