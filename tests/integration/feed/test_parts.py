"""A part of the feed reads what it is about, and not the tables that this is in."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import text

from pipeline.feed.reading import read_part
from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.event import CHANGED, FINISHED, LAST_PLACE, RECEIVED
from pipeline.feed.rules.filter import Filter
from pipeline.feed.rules.part import Wanted
from pipeline.feed.sequence import place
from tests.factories import make_record
from tests.integration.flow import load, receive, walk
from tests.integration.tuples import reading

BATCHES = 5
RECORDS = 200
TABLES = ("inbox", "calls", "dispositions", "contacts")

LIKE_MILLIONS = """
UPDATE pg_class SET reltuples = relpages * 10000 WHERE relnamespace = current_schema()::regnamespace
AND relkind = 'r' AND relname ~ '^(inbox|calls|dispositions|contacts)';
SET parallel_setup_cost = 0;
SET min_parallel_table_scan_size = 0
"""
"""What the planner believes of tables of some millions of rows, where going through all of them at once pays."""


@pytest.fixture
def many(engine):
    """Calls in some batches, each of a contact of its own."""
    load(engine)
    for batch in range(BATCHES):
        walk(engine, receive(engine, *(make_record(contact_ref=f"{batch}-{n}") for n in range(RECORDS))))
    place(engine)
    with engine.begin() as connection:
        connection.execute(text(f"ANALYZE {', '.join(TABLES)}"))


@pytest.mark.parametrize("shape", ["raw", "thin"])
@pytest.mark.parametrize("kind", [RECEIVED, FINISHED, CHANGED])
def test_a_part_reads_its_own_records_whatever_the_planner_believes(many, engine, kind, shape):
    """It believed that each span is a share of all records, and went through all dispositions for each part."""
    wanted = Wanted(Filter(("*",), ("*",), (kind,)), shape, None)
    with engine.connect() as connection:
        connection.execute(text(LIKE_MILLIONS))
        with contextlib.ExitStack() as stack:
            read = {table: stack.enter_context(reading(connection, f"^{table}")) for table in TABLES}
            part = read_part(connection, Cursor(0, LAST_PLACE), wanted, most=RECORDS + RECORDS // 2)
        connection.rollback()
    events = len(part.events)
    assert events == RECORDS + RECORDS // 2
    rows = {table: found.rows for table, [found] in read.items()}
    # Some more, for the planner looks up how far the ids go; twice, where a bitmap is gone through as well.
    assert events <= max(rows.values()) <= 2 * events + 10, rows
