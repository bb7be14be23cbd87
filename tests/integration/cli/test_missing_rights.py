"""A right that is missing in the database is a sentence: which role, which right, and what to do."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.database.migrations import upgrade
from pipeline.database.roles import apply_roles
from pipeline.sandbox.servers import PostgresServer
from tests.warm import warm


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A database as the runbook makes it: its owner is no superuser, and may make no roles."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), fsync=False) as server:
        own = make_url(server.url)
        superuser = create_engine(own, isolation_level="AUTOCOMMIT")
        with superuser.connect() as connection:
            connection.execute(text("CREATE ROLE owner LOGIN"))
            connection.execute(text("CREATE ROLE stranger LOGIN"))
            connection.execute(text("CREATE DATABASE rights OWNER owner"))
        superuser.dispose()
        yield own.set(database="rights")


def run(url, role, *words):
    asked = url.set(username=role).render_as_string(hide_password=False)
    done = warm().pipeline(*words, env=os.environ | {"DATABASE_URL": asked})
    assert done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def with_roles(url):
    """Once the first test has seen it without: the tables, and each role may log in."""
    owner = create_engine(url.set(username="owner"))
    upgrade(owner)
    owner.dispose()
    superuser = create_engine(url)
    with superuser.begin() as connection:
        apply_roles(connection)
        for role in ("cdr_ingest", "cdr_read"):
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))
    superuser.dispose()
    return url


def test_the_runbooks_own_user_may_make_no_roles(url):
    """It is told which of two ways there are."""
    said = run(url, "owner", "db", "roles", "--apply")
    assert "role owner lacks a right in the database: permission denied to create role" in said
    assert "ALTER ROLE owner CREATEROLE" in said


@pytest.mark.parametrize(
    ("role", "words", "lacks"),
    [
        ("cdr_ingest", ("balance",), "for table ranges"),
        ("cdr_ingest", ("explain", "1"), "for table calls (SELECT)"),
        ("cdr_read", ("tariff", "load", "{file}"), "for table tariffs (INSERT)"),
        ("stranger", ("report", "charges", "--month", "2026-11"), "for table"),
        ("stranger", ("db", "upgrade"), "for table alembic_version (SELECT)"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_any_command_says_which_role_lacks_what(with_roles, tmp_path, role, words, lacks):
    """And never that the server may be down, for it answered."""
    (tmp_path / "tariff.csv").write_text("prefix,rate_per_minute\n27,1\n")
    said = run(with_roles, role, *(word.format(file=tmp_path / "tariff.csv") for word in words))
    assert f"role {role} lacks a right in the database: permission denied {lacks}" in said
    assert "the owner of the tables" in said
    assert "server is up" not in said
