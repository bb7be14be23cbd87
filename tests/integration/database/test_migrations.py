"""Migrations on real PostgreSQL: they make what the models say, one at a time, any number of times."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from pipeline.database.migrations import alembic_config, revisions, upgrade
from pipeline.database.tables import metadata


def test_the_migrations_make_what_the_models_say(engine):
    """Nothing is in the models that a migration does not make, and the other way round."""
    with engine.connect() as connection:
        parts = set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")))
        options = {
            "compare_type": True,
            "compare_server_default": True,
            # Of those the database's functions take care.
            "include_name": lambda name, kind, _parents: kind != "table" or name not in parts,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    current, newest = revisions(engine)
    assert current == newest


def test_every_check_of_the_models_is_in_the_database(engine):
    """Alembic compares no checks: what a column may hold is looked up in the catalogue, and tried."""
    declared = {str(check.name) for table in metadata.tables.values() for c in table.columns for check in c.constraints}
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT conname FROM pg_constraint WHERE contype = 'c' AND convalidated AND conrelid <> 0 "
                "AND connamespace = current_schema()::regnamespace"
            )
        )
        assert set(found.scalars()) == declared
    with pytest.raises(IntegrityError, match="calls_talk_seconds_check"), engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, "
                "direction, dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash) "
                "VALUES (1, 'e', '1', 'c', false, false, 'outbound', now(), -1, 'hungup', false, '')"
            )
        )


def test_each_migration_goes_up_down_and_up_again(empty):
    """One revision after the other, with a way back from each."""
    config = alembic_config(empty)
    for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
        upgrade(empty, script.revision)
        command.downgrade(config, script.down_revision or "base")
        upgrade(empty, script.revision)
    assert revisions(empty)[0] == revisions(empty)[1]


def test_several_releases_at_once_wait_for_each_other(empty):
    """Two machines that start a new version at the same time migrate once."""
    env = {**os.environ, "DATABASE_URL": empty.url.render_as_string(hide_password=False)}
    command_line = [sys.executable, "-m", "pipeline", "db", "upgrade"]
    releases = [subprocess.Popen(command_line, env=env, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [release.communicate(timeout=180)[1] for release in releases]
    assert [release.returncode for release in releases] == [0, 0, 0], errors
    assert revisions(empty)[0] == revisions(empty)[1]
