"""Tables that are whole become ranges while everything goes on: the whole table is the first range.

Nothing is rewritten. What takes long (entering the keys of calls, reading that every record is below the bound) takes
no lock that anybody waits for; what takes such a lock takes milliseconds, asks for it for half a second at a time, and
is tried again. Each piece is committed by itself and found done by the next run, so it can be cut off anywhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from pipeline.database.audit import record_action
from pipeline.database.engine import is_lock_timeout, wait_for_locks
from pipeline.database.ranges import BITS, FIRST, KEYS, make_ranges, tables_to_move
from pipeline.errors import PipelineError
from pipeline.ranges.alone import alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    Progress = Callable[[str, int, int], None]
    """Told what is being done, how much of it is, and of how much."""

KEYS_AT_ONCE: Final = 10_000
LOCK_SECONDS: Final = 0.5
"""The longest that others wait behind us for a table, before they go on and we try again."""
PATIENCE_SECONDS: Final = 600.0


class MoveError(PipelineError):
    """The tables cannot be moved now; what was done stays done, and the next run goes on."""


class Moved(NamedTuple):
    """What a run did.

    Attributes:
        keys: of calls that were entered or put right.
        tables: those that became ranges.
    """

    keys: int
    tables: tuple[str, ...]


def move(
    engine: Engine,
    *,
    who: str,
    patience_seconds: float = PATIENCE_SECONDS,
    progress: Progress = lambda _what, _done, _of: None,
) -> Moved:
    """Make ranges of the tables that are none yet.

    Args:
        engine: of the tables' owner.
        who: does it, for the record.
        patience_seconds: how long a lock is asked for that somebody holds.
        progress: told how far it is.

    Raises:
        MoveError: another run is at it, or a table is locked by somebody for too long.
    """
    with alone(engine, MoveError("another run is moving or dropping ranges: wait until it is done")):
        with engine.connect() as connection:
            left = tables_to_move(connection)
        if not left:
            return Moved(0, ())
        keys = enter_keys(engine, progress=progress) if "calls" in left else 0
        bound = _bound(engine)
        for at, table in enumerate(left):
            progress(f"moving {table}", at, len(left))
            _move_one(engine, table, bound, patience_seconds)
        progress("moving", len(left), len(left))
        with engine.begin() as connection:
            make_ranges(connection)
            record_action(connection, who, "tables became ranges", {"tables": left, "keys": keys})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # No look of the server's own is at the whole of a partitioned table.
            connection.execute(text(f"ANALYZE {', '.join(left)}"))
    return Moved(keys, tuple(left))


# SQL: by key range, in the order of the key, as the step enters them. A replay of a call whose key was not entered yet
# has entered its own record's: the call that is stored is the first.
_ENTER = text(
    "WITH part AS (SELECT id, source, call_ref FROM calls WHERE id > :after ORDER BY id LIMIT :limit), "
    "entered AS (INSERT INTO call_keys AS k (call_ref, source, record_id) "
    "  SELECT call_ref, source, id FROM part ORDER BY call_ref, source "
    "  ON CONFLICT (call_ref, source) DO UPDATE SET record_id = excluded.record_id "
    "  WHERE k.record_id <> excluded.record_id RETURNING 1) "
    "SELECT (SELECT max(id) FROM part) AS last, (SELECT count(*) FROM part) AS read, "
    "  (SELECT count(*) FROM entered) AS entered"
)


def enter_keys(engine: Engine, *, progress: Progress = lambda _what, _done, _of: None) -> int:
    """Enter the keys of the calls that were stored before keys were; returns how many were not there."""
    with engine.connect() as connection:
        about = connection.scalar(text("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE relname = 'calls'"))
    after, read, entered = -1, 0, 0
    while True:
        progress("entering keys", read, max(int(about or 0), read))
        with engine.begin() as connection:
            row = connection.execute(_ENTER, {"after": after, "limit": KEYS_AT_ONCE}).one()
        if row.last is None:
            return entered
        after, read, entered = row.last, read + row.read, entered + row.entered


def _bound(engine: Engine) -> int:
    """The end of the first range: the beginning of next month's ids, set by the first run."""
    present = (
        "greatest((extract(year FROM t)::bigint - 2020) * 12 + extract(month FROM t)::bigint - 1, "
        f"(SELECT coalesce(max(id), 0) FROM batches) >> {BITS - 16})"
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO ranges (name, first_record, end_record) SELECT :first, 0, ({present} + 1) << {BITS} "
                "FROM (SELECT now() AT TIME ZONE 'UTC' AS t) AS clock ON CONFLICT DO NOTHING"
            ),
            {"first": FIRST},
        )
        return int(
            connection.scalars(text("SELECT end_record FROM ranges WHERE name = :first"), {"first": FIRST}).one()
        )


def _move_one(engine: Engine, table: str, bound: int, patience_seconds: float) -> None:
    name = f"{table}_first_range"

    def check(connection: Connection) -> None:
        there = text("SELECT FROM pg_constraint WHERE conrelid = cast(:table AS regclass) AND conname = :name")
        if connection.execute(there, {"table": table, "name": name}).one_or_none() is None:
            connection.execute(
                text(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({KEYS[table]} < {bound}) NOT VALID")
            )

    _when_free(engine, table, check, patience_seconds)
    with engine.begin() as connection:
        # It reads the table, and stands in nobody's way but a vacuum's.
        connection.execute(text("SET LOCAL lock_timeout = '5min'"))
        connection.execute(text(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))
    become = select(func.become_ranges(table, KEYS[table], bound))
    _when_free(engine, table, lambda connection: connection.execute(become), patience_seconds)


def _when_free(engine: Engine, table: str, do: Callable[[Connection], object], patience_seconds: float) -> None:
    """Do what needs the table for itself, for a moment; whoever comes meanwhile waits half a second at the most."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with engine.begin() as connection:
                wait_for_locks(connection, LOCK_SECONDS)
                do(connection)
                return
        except DBAPIError as error:
            if not is_lock_timeout(error):
                raise
        if time.monotonic() > deadline:
            raise MoveError(
                f"table {table} was never free for half a second within {patience_seconds:.0f} s: something reads it "
                "for long, such as a balance or a backup. What was done stays done: run it again afterwards"
            )
        time.sleep(LOCK_SECONDS)
