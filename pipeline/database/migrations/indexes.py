"""Indexes on tables of records, which may be whole or in ranges, made without keeping anybody from writing."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text


def create_concurrently(name: str, table: str, what: str) -> None:
    """Make an index; what a run before was cut off at is made anew.

    A partitioned table knows no `CONCURRENTLY`: its index is made empty, and those of its ranges become parts of it.

    Args:
        name: of the index.
        table: whose.
        what: the columns in brackets, with what follows them in `CREATE INDEX`.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '30min'")
        if not _is_partitioned(table):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {table} {what}")
        else:
            op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON ONLY {table} {what}")
            for part in _without(name, table):
                own = name.replace(table, part, 1)
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {own}")
                op.execute(f"CREATE INDEX CONCURRENTLY {own} ON {part} {what}")
                op.execute(f"ALTER INDEX {name} ATTACH PARTITION {own}")
        op.execute("SET lock_timeout = '5s'")


def drop(name: str, table: str) -> None:
    """Take it away again."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX {'' if _is_partitioned(table) else 'CONCURRENTLY'} IF EXISTS {name}")


def _is_partitioned(table: str) -> bool:
    query = text("SELECT relkind = 'p' FROM pg_class WHERE oid = cast(:table AS regclass)")
    return bool(op.get_bind().scalar(query, {"table": table}))


def _without(name: str, table: str) -> list[str]:
    """The ranges whose part of an index is not there."""
    query = text(
        "SELECT inhrelid::regclass::text FROM pg_inherits AS part WHERE inhparent = cast(:table AS regclass) "
        "AND NOT EXISTS (SELECT FROM pg_index JOIN pg_inherits AS own ON own.inhrelid = pg_index.indexrelid "
        "                WHERE pg_index.indrelid = part.inhrelid AND own.inhparent = cast(:name AS regclass))"
    )
    return list(op.get_bind().scalars(query, {"table": table, "name": name}))
