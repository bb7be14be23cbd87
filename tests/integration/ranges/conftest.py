"""A database of the version before tables had ranges, with calls in it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from sqlalchemy import Engine, event, text

from pipeline.database.migrations import upgrade
from pipeline.database.ranges import KEYS
from pipeline.ranges.alone import LOCK
from tests.factories import make_record
from tests.integration.flow import load, receive, walk
from tests.patience import eventually

BEFORE = "0031"


class Whole(NamedTuple):
    """Tables that are no ranges yet."""

    engine: Engine

    def rows(self, sql, **values):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def contents(self):
        """Every row of the tables of records, as a dump has it."""
        return {table: self.rows(f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in KEYS}

    def kinds(self):
        """Whether each table is whole (r) or in ranges (p)."""
        return {
            table: self.rows(f"SELECT relkind FROM pg_class WHERE oid = '{table}'::regclass")[0][0] for table in KEYS
        }


@pytest.fixture
def whole(empty):
    """Three batches of calls that old code stored: no key of theirs is entered."""
    upgrade(empty, BEFORE)
    with empty.begin() as connection:
        # What a batch needs to be one; the migration moves a database that has none by itself.
        connection.execute(
            text("INSERT INTO batches (claim, source, records, due_at) VALUES (gen_random_uuid(), 'old', 1, now())")
        )
        connection.execute(text("INSERT INTO inbox VALUES (65536, '{}')"))
    upgrade(empty, "head")
    with empty.begin() as connection:
        connection.execute(text("DELETE FROM batches; DELETE FROM inbox"))
    load(empty)
    for batch in range(3):
        walk(empty, receive(empty, *(make_record(call_ref=100 * batch + call, call_time=61) for call in range(20))))
    with empty.begin() as connection:
        connection.execute(text("TRUNCATE call_keys"))
    return Whole(empty)


def nobody_is_at_it(engine):
    """Whether no run moves or drops: the server takes a moment to notice that one is gone."""
    with engine.connect() as connection:
        held = text(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND objid = :key AND datname = current_database()"
        )
        return connection.scalar(held, {"key": LOCK}) == 0


def comes_to_an_end(engine, run, *, statements):
    """Whether a run does with so many statements; else it is ended before one more, and the server has noticed."""
    left = statements

    def end(*_):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", end)
    try:
        run()
    except KeyboardInterrupt:
        engine.dispose()
    else:
        return True
    finally:
        event.remove(engine, "before_cursor_execute", end)
    eventually(lambda: nobody_is_at_it(engine))
    return False
