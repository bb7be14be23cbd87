"""Every column that can hold a number is decided, and none is decided that is not there."""

from __future__ import annotations

import pytest
from sqlalchemy import ARRAY, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.database.tables import metadata
from pipeline.erasure.rules.decided import HELD_BY_NONE, NONE_IN, decided
from pipeline.erasure.rules.places import DROPPED, KEYED, SWEPT


def _holds_text(column):
    kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
    return isinstance(kind, Text | LargeBinary | JSONB)


COLUMNS = [(table.name, each.name) for table in metadata.tables.values() for each in table.columns if _holds_text(each)]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(each) for each in COLUMNS])
def test_a_column_is_decided(table, column):
    """A new one has to be: is it rewritten, or can no number be in it, and why?"""
    assert decided(table, column)


def test_none_is_decided_that_is_not_there():
    """What is written down of a column that is gone would be taken for care."""
    said = {
        *((table, column) for place in (SWEPT, KEYED) for table, columns in place.items() for column in columns),
        *((table, column) for table, columns in NONE_IN.items() for column in columns),
        *DROPPED.items(),
    }
    assert said <= set(COLUMNS)
    assert set(HELD_BY_NONE) <= {column for _, column in COLUMNS}


def test_what_is_rewritten_is_not_said_to_hold_none():
    """One answer a column."""
    rewritten = {(table, column) for table, column in COLUMNS if decided(table, column) == "rewritten"}
    assert not rewritten & {(table, column) for table, columns in NONE_IN.items() for column in columns}
