"""Migrations only add, so that the version that runs goes on while the next one's tables are made."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from pipeline.database.migrations import alembic_config, upgrade

FIRST_HELD = "0004"
"""Migrations after this one are held to it; those before were never upgraded while anything ran."""

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default IS NOT NULL OR is_identity = 'YES' AS filled
FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT conrelid::regclass::text AS table_name, conname FROM pg_constraint
WHERE contype IN ('c', 'u', 'x', 'f') AND connamespace = current_schema()::regnamespace ORDER BY 1, 2
"""


KEPT_BY_OLD_CODE = {"0008", "0019", "0026", "0034"}
"""The models declared its rules from the first version on and all code kept to them; only the database did not know.
Those of 0019, 0026 and 0034 are of columns that are new, and that old code leaves at their defaults."""


def _later() -> list[tuple[str, str]]:
    """Each migration that is held to it, with the one before."""
    found = []
    for script in ScriptDirectory.from_config(alembic_config()).walk_revisions():
        if script.revision == FIRST_HELD:
            break
        assert isinstance(script.down_revision, str)
        found.append((script.down_revision, script.revision))
    return found


def _look(engine):
    with engine.connect() as connection:
        columns = {(row.table_name, row.column_name): row for row in connection.execute(text(COLUMNS))}
        constraints = {tuple(row) for row in connection.execute(text(CONSTRAINTS))}
    return columns, constraints


@pytest.mark.parametrize(("before", "after"), _later(), ids=[after for _, after in _later()])
def test_a_migration_only_adds(empty, before, after):
    """No column goes, changes its type or must be given; no rule is added that rows of the old code may break."""
    upgrade(empty, before)
    old, old_rules = _look(empty)
    upgrade(empty, after)
    new, new_rules = _look(empty)
    assert old.keys() <= new.keys(), "a column is gone: leave it until no version that runs reads or writes it"
    for key, column in old.items():
        assert new[key].data_type == column.data_type, key
        assert new[key].is_nullable == "YES" or column.is_nullable == "NO", f"{key} must be given now"
        assert new[key].filled or not column.filled, f"{key} has lost its default"
    tables = {table for table, _ in old}
    for (table, name), column in new.items():
        if table in tables and (table, name) not in old:
            assert column.is_nullable == "YES" or column.filled, f"old code does not give {table}.{name}"
    added = {rule for rule in new_rules - old_rules if rule[0] in tables}
    assert not added or after in KEPT_BY_OLD_CODE, "old code does not know this rule"
