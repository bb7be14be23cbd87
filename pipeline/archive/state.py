"""Whether a day has changed: a checksum of all its rows, which the database works out without sending them.

A checksum is a sum over rows, so their order is no matter. What changes every time that somebody looks at a stored
file is left out of it, or each `recordings verify` would have all months written anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.archive.columns import CALL, DISPOSITION, LISTS, RECORDING
from pipeline.archive.rules.manifest import NOTHING
from pipeline.archive.rules.places import span_of

if TYPE_CHECKING:
    from datetime import date, datetime

    from sqlalchemy import Connection

    from pipeline.archive.columns import Group
    from pipeline.archive.rules.places import Span

LOOKED_AT: Final = frozenset(
    {"verified_at", "verify_problem", "delete_tried_at", "delete_problem", "released_at", "releases"}
)


class DayState(NamedTuple):
    """What the database holds of a day."""

    rows: int
    text: str
    """Equal to another exactly when nothing has changed."""


def _checksum(group: Group, of: str = "t") -> str:
    columns = ", ".join(f"{of}.{name}" for name in group.names if name not in LOOKED_AT)
    return f"hash_record_extended(ROW({columns}), 0)::numeric"


def _sum_of(group: Group, seed: int) -> str:
    """Of the rows of a call in another table; the seed tells tables apart."""
    found = f"(SELECT sum({_checksum(group)}) FROM {group.table.name} AS t WHERE t.call_id = c.id)"
    return f"coalesce(sum({found}), 0) * {seed}"


_GROUPS: Final = (DISPOSITION, RECORDING, *LISTS.values())
# SQL: a look-up a table and call by its key; the rows stay in the server.
_STATE: Final = text(
    f"SELECT count(*), coalesce(sum({_checksum(CALL, 'c')}), 0) + "
    f"{' + '.join(_sum_of(group, seed) for seed, group in enumerate(_GROUPS, start=3))} "
    "FROM calls AS c WHERE c.source = :source AND c.dialed_at >= :since AND c.dialed_at < :until"
)
_IDS: Final = text(
    "SELECT id FROM calls WHERE source = :source AND dialed_at >= :since AND dialed_at < :until ORDER BY id"
)


def state_of(connection: Connection, source: str, day: date) -> DayState:
    """What a dialler's calls of a day come to now.

    Args:
        connection: the database.
        source: the dialler.
        day: of UTC.
    """
    rows, checksum = connection.execute(_STATE, {"source": source, **span_of(day)._asdict()}).one()
    return DayState(rows, f"{rows}.{int(checksum):x}" if rows else NOTHING)


def ids_of(connection: Connection, source: str, day: date) -> list[int]:
    """The ids of a dialler's calls of a day, in order."""
    return list(connection.scalars(_IDS, {"source": source, **span_of(day)._asdict()}))


def count_of(connection: Connection, source: str, day: date) -> int:
    """How many calls a dialler has of a day."""
    query = text("SELECT count(*) FROM calls WHERE source = :source AND dialed_at >= :since AND dialed_at < :until")
    return int(connection.scalar(query, {"source": source, **span_of(day)._asdict()}) or 0)


def still_there(connection: Connection, ids: list[int]) -> set[int]:
    """Which of these calls the database has, whatever day they are of by now."""
    query = text("SELECT t.id FROM unnest(cast(:ids AS bigint[])) AS wanted (id) JOIN calls AS t ON t.id = wanted.id")
    return set(connection.scalars(query, {"ids": ids}))


def first_and_last(connection: Connection, source: str) -> tuple[datetime, datetime] | None:
    """When a dialler's first and last call were dialled; None: it has none."""
    query = text("SELECT min(dialed_at), max(dialed_at) FROM calls WHERE source = :source")
    first, last = connection.execute(query, {"source": source}).one()
    return None if first is None else (first, last)


def has_calls(connection: Connection, source: str, span: Span) -> bool:
    """Whether the database has any call of a dialler of a time."""
    query = text(
        "SELECT EXISTS (SELECT FROM calls WHERE source = :source AND dialed_at >= :since AND dialed_at < :until)"
    )
    return bool(connection.scalar(query, {"source": source, **span._asdict()}))
