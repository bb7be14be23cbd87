"""A day is written anew: what the database has of it, and what only its part before has."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from pipeline.archive.carry import carry_over
from pipeline.archive.part_file import ROWS, write_part
from pipeline.archive.reading import read_rows
from pipeline.archive.state import ids_of, still_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from sqlalchemy import Connection

    from pipeline.archive.part_file import PartFile, Written
    from pipeline.archive.rules.places import Place


def write_day(connection: Connection, file: Path, place: Place, day: date, before: PartFile | None) -> Written | None:
    """Write a day's calls to a file.

    Args:
        connection: the database, in one state of it.
        file: where to.
        place: the month.
        day: the day.
        before: what is archived of it; None: nothing yet.

    Returns:
        What it came to; None: there is not one call of that day any more.
    """
    ids = ids_of(connection, place.source, day)
    kept = set() if before is None else gone_from(connection, before, ids)
    every = sorted([*ids, *kept]) if kept else ids
    return write_part(file, place, day, _tables(connection, every, kept, before))


def gone_from(connection: Connection, before: PartFile, ids: Sequence[int] = ()) -> set[int]:
    """The calls of a part that the database has no longer; those that are of another day by now are no such.

    Args:
        connection: the database.
        before: the part.
        ids: calls of which it is known that they are there, in order.
    """
    gone: set[int] = set()
    for table in before.tables(["id"]):
        missing = [call_id for call_id in table["id"].to_pylist() if not _is_among(ids, call_id)]
        gone.update(set(missing) - still_there(connection, missing) if missing else ())
    return gone


def _is_among(ids: Sequence[int], call_id: int) -> bool:
    place = bisect_left(ids, call_id)
    return place < len(ids) and ids[place] == call_id


def _tables(connection: Connection, every: list[int], kept: set[int], before: PartFile | None) -> Iterator[Any]:
    for start in range(0, len(every), ROWS):
        chunk = every[start : start + ROWS]
        table = read_rows(connection, [call_id for call_id in chunk if call_id not in kept])
        if before is not None:
            table = carry_over(table, before.between(chunk[0], chunk[-1]), kept.intersection(chunk))
        yield table
