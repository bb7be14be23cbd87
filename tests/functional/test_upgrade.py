"""The version before the newest migration and this one, side by side on the same tables."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from honcho.environ import parse_procfile
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.sandbox.process import spawn
from pipeline.sandbox.stack import ROOT, Stack
from pipeline.storage.migrations import revisions
from pipeline.storage.roles import ROLES
from tests.factories import make_record
from tests.functional.conftest import TARIFF, balance, eventually
from tests.functional.test_roles import ROLE_OF

MIGRATIONS = "pipeline/storage/migrations/versions"
EACH = 50
CHARGE = 0.81


def _git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture(scope="module")
def old_code(tmp_path_factory):
    """What was there before the newest migration."""
    # One that was mended later is as new as the commit that made it.
    newest = _git("log", "-1", "--diff-filter=A", "--format=%H", "HEAD", "--", MIGRATIONS).decode().strip()
    archive = _git("archive", "--format=tar", f"{newest}^") if newest else b""
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


def test_the_version_before_goes_on_beside_this_one(unmigrated, old_code, push, engine, tmp_path):
    """Old code at work, tables upgraded under it, new code beside it, old code stopped: every call charged once."""
    new, old = unmigrated, OldStack(unmigrated, old_code)
    where = old.run(sys.executable, "-c", "import pipeline; print(pipeline.__file__)").stdout
    assert where.startswith(str(old_code)), where
    tariff = tmp_path / "tariff.csv"
    tariff.write_text(TARIFF)
    for command in (
        ("pipeline", "db", "upgrade"),
        ("pipeline", "db", "roles", "--apply"),
        ("pipeline", "tariff", "load", str(tariff)),
    ):
        done = old.run(*command)
        assert done.returncode == 0, done.stderr
    before, newest = revisions(engine)
    assert before != newest
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

            new.commands["worker"] = new.commands["worker"].replace("worker@%h", "newer@%h")
            start_as_roles(new, "worker", "ingestor", "beat")
            some_calls()
            eventually(all_charged, check=lambda: (old.check(), new.check()))

            some_calls()
            old.stop(["worker", "ingestor", "beat"])
            some_calls()
            eventually(all_charged, check=new.check)
        finally:
            old.stop()
    sheet = eventually(lambda: (found := balance(new))["pending"]["records"] == 0 and found)
    assert (sheet["closes"], sheet["processed"]["records"]) == (True, pushed)
    assert float(sheet["charged"]["ZAR"]) == pytest.approx(pushed * CHARGE)
    for process in ("ingestor", "worker", "beat"):
        assert "permission denied" not in old.log_of(process).read_text(), process
    assert os.environ.get("PYTHONPATH") is None or str(old_code) not in os.environ["PYTHONPATH"]
