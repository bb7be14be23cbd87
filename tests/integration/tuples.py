"""How much is read: what a search costs, whatever the machine does meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_READ: Final = text(
    "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)) FILTER (WHERE relkind = 'i'), 0)::bigint AS entries, "
    # The server counts rows that were read by an index with that index.
    "  coalesce(sum(pg_stat_get_xact_tuples_fetched(oid)), 0)::bigint "
    "  + coalesce(sum(pg_stat_get_xact_tuples_returned(oid)) FILTER (WHERE relkind = 'r'), 0)::bigint AS rows "
    "FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ :tables"
)


class Read(NamedTuple):
    """What was read of some tables."""

    entries: int
    """Of their indexes."""
    rows: int
    """Of the tables themselves, by an index or not."""


@contextlib.contextmanager
def reading(connection: Connection, tables: str) -> Iterator[list[Read]]:
    """What is read within, one more of the list at its end.

    The server counts on over transactions, and forgets only between them.

    Args:
        connection: the database, within a transaction.
        tables: a pattern of the names of tables and of their indexes, such as ``^calls``.
    """
    read: list[Read] = []
    before = connection.execute(_READ, {"tables": tables}).one()
    yield read
    after = connection.execute(_READ, {"tables": tables}).one()
    read.append(Read(after.entries - before.entries, after.rows - before.rows))
