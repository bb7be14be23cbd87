"""The version before the newest migration and this one, side by side on the same tables."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from honcho.environ import parse_procfile
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.batches.progress import OWING
from pipeline.database.migrations import revisions
from pipeline.database.roles import ROLES
from pipeline.sandbox.process import spawn
from pipeline.sandbox.stack import ROOT, Stack
from tests.factories import make_record
from tests.functional.conftest import TARIFF, balance, eventually
from tests.functional.test_roles import ROLE_OF
from tests.warm import warm

MIGRATIONS = ("pipeline/database/migrations/versions", "pipeline/storage/migrations/versions")
"""Where they are, and where they were."""

EACH = 50
CHARGE = 0.81


def _git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def _migrations(commit):
    """The numbers of a commit's migrations."""
    files = _git("ls-tree", "-r", "--name-only", commit, "--", *MIGRATIONS).decode().split()
    return sorted(int(found[1]) for file in files if (found := re.search(r"/(\d{4})_\w+\.py$", file)))


def _version_before():
    """The last commit of this branch that had fewer migrations, and these in one line; None: history is too short."""
    ours = len(_migrations("HEAD"))
    for commit in _git("rev-list", "--first-parent", "HEAD").decode().split():
        there = _migrations(commit)
        if 0 < len(there) < ours and there == list(range(1, len(there) + 1)):
            return commit
    return None


@pytest.fixture(scope="module")
def old_code(tmp_path_factory):
    """What was there before the newest migrations."""
    before = _version_before()
    archive = _git("archive", "--format=tar", before) if before else b""
    if not archive:
        pytest.skip("no git history that reaches back before the newest migration")
    folder = tmp_path_factory.mktemp("old")
    unpacked = subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=False)
    assert unpacked.returncode == 0
    return folder


class OldStack(Stack):
    """The processes of another version, with the same servers and settings."""

    def __init__(self, stack: Stack, root) -> None:
        self.root = root
        self.folder = stack.folder / "old"
        self.env = {**stack.env, "PYTHONPATH": str(root)}
        self.settings = stack.settings
        self.commands = parse_procfile((root / "Procfile").read_text()).processes
        self.processes = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def start_as(self, name, command):
        self.processes[name] = spawn(
            ["/bin/sh", "-c", f"exec {command}"], folder=self.root, log=self.log_of(name), env=self.env
        )

    def run(self, *command):
        return subprocess.run(command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False)


@pytest.fixture
def unmigrated(stack, engine):
    """A stack whose database has no tables yet."""
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()
    return stack


def start_as_roles(stack, *processes):
    """Each as its role in the database: what it may do changes under it as well."""
    owner = stack.env["DATABASE_URL"]
    for process in processes:
        role = make_url(owner).set(username=ROLE_OF[process])
        stack.env["DATABASE_URL"] = role.render_as_string(hide_password=False)
        stack.start([process])
    stack.env["DATABASE_URL"] = owner


def move_tables(stack):
    """Into ranges, if they are none yet, while all is at work."""
    done = warm().pipeline("ranges", "move", env=stack.env)
    assert done.returncode == 0, done.stderr


def repeat(push, engine, check):
    """The dialler sends its first calls once more, and all of them are counted as duplicates."""
    push(*(make_record(call_ref=number, call_time=61) for number in range(EACH)))

    def counted():
        with engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM duplicates")) == EACH

    eventually(counted, check=check)


def contacts_are_whole(engine, calls):
    """Also those of calls in batches that old code finished, which knows nothing of contacts."""
    with engine.connect() as connection:
        owing = connection.scalar(text(f"SELECT count(*) FROM batches WHERE {OWING}"))
        return owing == 0 and connection.scalar(text("SELECT sum(attempts) FROM contacts")) == calls


def told_twice(engine):
    """Batches that are finished more than once, as the feed has it."""
    with engine.connect() as connection:
        found = "SELECT batch_id FROM feed WHERE kind = 'call.finished' GROUP BY batch_id HAVING count(*) > 1"
        return list(connection.scalars(text(found)))


def test_the_version_before_goes_on_beside_this_one(unmigrated, old_code, push, engine, tmp_path):
    """Old code at work, tables upgraded under it, new code beside it, old code stopped: every call charged once."""
    new, old = unmigrated, OldStack(unmigrated, old_code)
    assert old.run(sys.executable, "-c", "import pipeline; print(pipeline.__file__)").stdout.startswith(str(old_code))
    tariff = tmp_path / "tariff.csv"
    tariff.write_text(TARIFF)
    for command in (
        ("pipeline", "db", "upgrade"),
        ("pipeline", "db", "roles", "--apply"),
        ("pipeline", "tariff", "load", str(tariff)),
    ):
        done = old.run(*command)
        assert done.returncode == 0, done.stderr
    newest = revisions(engine)[1]
    with engine.begin() as connection:
        for role in ROLES:
            connection.execute(text(f"ALTER ROLE {role} LOGIN"))

    pushed = 0

    def some_calls():
        nonlocal pushed
        push(*(make_record(call_ref=pushed + number, call_time=61) for number in range(EACH)))
        pushed += EACH

    def all_charged():
        with engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM ledger")) == pushed

    with old:
        try:
            start_as_roles(old, "ingestor", "worker", "beat")
            some_calls()
            eventually(all_charged, check=old.check)

            some_calls()
            new.release()
            assert revisions(engine)[0] == newest
            some_calls()
            eventually(all_charged, check=old.check)

            some_calls()
            move_tables(new)
            some_calls()
            repeat(push, engine, old.check)
            eventually(all_charged, check=old.check)

            new.commands["worker"] = new.commands["worker"].replace("worker@%h", "newer@%h")
            start_as_roles(new, "worker", "ingestor", "beat")
            some_calls()
            eventually(all_charged, check=lambda: (old.check(), new.check()))

            some_calls()
            old.stop(["worker", "ingestor", "beat"])
            some_calls()
            eventually(all_charged, check=new.check)
            eventually(lambda: contacts_are_whole(engine, pushed), check=new.check)
        finally:
            old.stop()
    assert told_twice(engine) == []
    sheet = eventually(lambda: (found := balance(new))["pending"]["records"] == 0 and found)
    assert (sheet["closes"], sheet["processed"]["records"]) == (True, pushed)
    assert float(sheet["charged"]["ZAR"]) == pytest.approx(pushed * CHARGE)
    for process in ("ingestor", "worker", "beat"):
        assert "permission denied" not in old.log_of(process).read_text(), process
    assert os.environ.get("PYTHONPATH") is None or str(old_code) not in os.environ["PYTHONPATH"]
