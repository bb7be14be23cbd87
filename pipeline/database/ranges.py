"""The tables of records as ranges: which there are, those of the months to come, and those that are brought back.

A range is a month of batches: the first bits of a record's id say which, counted from January 2020. A month has room
for 134 million batches. The ids of a month begin when its ranges are there, so a late one is still numbered in the
month before, and no record is ever without a range. What was there before tables had ranges is the range ``first``.
The functions that change tables are the database's own: a worker may make the next range, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select, text

from pipeline.database import tables

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

BITS: Final = 43
"""Of a record id, below its month: 27 of the batch, 16 of the record's place in it."""
FIRST: Final = "first"
AHEAD: Final = 1
"""How many months' ranges are made before they begin."""
KEYS: Final = {
    "inbox": "record_id",
    "calls": "id",
    "duplicates": "record_id",
    "dispositions": "call_id",
    "uncharged": "call_id",
    "recordings": "call_id",
    "ledger": "call_id",
}
"""The tables that are ranges, and the column of each that holds the id."""


def is_dropped(record: str) -> str:
    """SQL that says whether the range of a record was dropped, or is being dropped.

    Args:
        record: an expression that is its id.
    """
    return (
        "EXISTS (SELECT FROM ranges WHERE drop_began_at IS NOT NULL "
        f"AND {record} >= ranges.first_record AND {record} < ranges.end_record)"
    )


class Range(NamedTuple):
    """A month of records, in each of the tables."""

    name: str
    first_record: int
    end_record: int
    """The first of the next."""
    drop_began_at: datetime | None
    dropped_at: datetime | None
    trouble: str | None
    """Why its drop has not gone on; None: nothing is wrong."""

    is_there: bool
    """Whether its tables are; one that was dropped may have been brought back."""

    @property
    def records(self) -> tuple[int, int]:
        """Its first and last record."""
        return self.first_record, self.end_record - 1

    @property
    def bounds(self) -> dict[str, int]:
        """The same, as statements name them."""
        return dict(zip(("first", "last"), self.records, strict=True))


class Extent(NamedTuple):
    """What is in a range, by what the server knows without reading it."""

    rows: int
    """Records, about: what its last look (ANALYZE, vacuum) found."""
    size_bytes: int
    """Of all its tables with their indexes."""
    first_received: datetime | None
    last_received: datetime | None


def part_of(table: str, name: str) -> str:
    """The table that is a range of another.

    >>> part_of("calls", "2026-12")
    'calls_2026_12'
    """
    return f"{table}_{name.replace('-', '_')}"


def all_ranges(connection: Connection) -> list[Range]:
    """Every range there is or was, in order."""
    of = tables.ranges.c
    columns = [of[name] for name in Range._fields if name != "is_there"]
    there = func.to_regclass(func.concat("calls_", func.replace(of.name, "-", "_"))).is_not(None)
    query = select(*columns, there.label("is_there")).order_by(of.first_record)
    return [Range(**row) for row in connection.execute(query).mappings()]


def tables_to_move(connection: Connection) -> list[str]:
    """Those that are whole yet, in the order in which they move."""
    whole = connection.scalars(
        text("SELECT relname FROM pg_class WHERE oid = ANY(cast(:names AS regclass[])) AND relkind = 'r'"),
        {"names": list(KEYS)},
    )
    found = set(whole)
    return [name for name in KEYS if name in found]


def make_ranges(connection: Connection) -> int:
    """Make the ranges of the months to come; returns how many were made."""
    return int(connection.scalar(select(func.make_ranges(AHEAD))) or 0)


def bring_back(connection: Connection, first: int, last: int) -> None:
    """Make the ranges of these records again where they were dropped."""
    of = tables.ranges.c
    dropped = connection.execute(
        select(of.name, of.first_record, of.end_record).where(
            of.dropped_at.is_not(None), of.first_record <= last, of.end_record > first
        )
    ).all()
    for name, first_record, end_record in dropped:
        for table in KEYS:
            connection.execute(select(func.make_range(table, part_of(table, name), first_record, end_record)))


def extent_of(connection: Connection, one: Range) -> Extent:
    """How much there is in a range."""
    parts = [part_of(table, one.name) for table in KEYS]
    rows, size = connection.execute(
        text(
            "SELECT coalesce(max(reltuples) FILTER (WHERE relname = :inbox), 0)::bigint, "
            "  coalesce(sum(pg_total_relation_size(oid)), 0)::bigint "
            "FROM pg_class WHERE relname = ANY(:parts) AND relnamespace = current_schema()::regnamespace"
        ),
        {"parts": parts, "inbox": parts[0]},
    ).one()
    return Extent(max(0, int(rows)), int(size), *received_in(connection, one))


def received_in(connection: Connection, one: Range) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of a range was received; None where it has nothing yet."""
    # By the first and the last batch: their order is the order in which they were received.
    first, last = (
        connection.scalar(
            text(
                "SELECT received_at FROM batches WHERE id BETWEEN cast(:first AS bigint) >> 16 AND "
                f"cast(:last AS bigint) >> 16 ORDER BY id {order} LIMIT 1"
            ),
            one.bounds,
        )
        for order in ("ASC", "DESC")
    )
    return first, last
