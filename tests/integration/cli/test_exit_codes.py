"""What every command ends with: 2 for a wrong command line or setting, 3 when it cannot look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from pipeline.sandbox.stack import ROOT
from tests.commands import NEEDS_A_PROCESS, call
from tests.factories import make_record
from tests.unit.test_reference import ALL_COMMANDS
from tests.warm import warm

if TYPE_CHECKING:
    from pathlib import Path

TARIFF = b"prefix,rate_per_minute\n27,0.60\n"
EXAMPLES = ROOT / "deploy" / "examples" / "accounts"
FILES = {
    "pipeline import": make_record(),
    "pipeline provider load": (EXAMPLES / "acme-2026-10.csv").read_bytes(),
    "pipeline provider ports load": b"number,network,from,to\n27820001234,Blue,2026-01-01,\n",
}
"""What a command reads, where that is no tariff."""
OWN_SAMPLES = {
    "month": "2026-11",
    "since": "2026-11-01",
    "until": "2026-12-01",
    "names": "c t",
    "process": "worker",
    "source": "enigma",
    "sink": "redis-list",
    "mapping": str(EXAMPLES / "acme.toml"),
    "number": "+27831234567",
    "kind": "calls",
}
BESIDES = {
    "pipeline explain": ["1"],
    "pipeline failures retry": ["--all"],
    "pipeline failures discard": ["--all"],
    "pipeline failures restore": ["--all"],
    "pipeline failures edit": ["--all", "--rename", "duration=call_time"],
    "pipeline failures accept": ["--all"],
    "pipeline token create": ["--scope", "calls:read", "--source", "*", "--campaign", "*"],
    "pipeline subscriber replay": ["--since", "2026-11-01"],
    "pipeline subscriber rotate": ["--secret-file", "url={file}"],
    "pipeline keeping set": ["--at-most", "30"],
    "pipeline recordings retry": ["--all", "--state", "failed"],
    "pipeline recordings keys destroy": ["--yes"],
    "pipeline report calls": ["--month", "2026-11"],
    "pipeline report traffic": ["--month", "2026-11"],
    "pipeline ranges drop": ["2024-10", "--because", "old"],
    "pipeline tariff unassign": ["--everything"],
    "pipeline subscriber add": [
        *("--source", "*", "--campaign", "*", "--kind", "call.received"),
        *("--set", "url=redis://127.0.0.1:1/0", "--set", "list=crm"),
    ],
}
"""What a command needs that none of its parameters says it does."""
NO_DATABASE = {
    "pipeline health",  # looks at files
    "pipeline doctor",  # that the database is away is what it finds
    "pipeline ingest",  # waits the outage out
    "pipeline api",  # says 503 meanwhile
    "pipeline provider preview",  # looks at a file
}
COMMANDS = [name for name in ALL_COMMANDS if name not in NO_DATABASE]


def words(name: str, folder: Path) -> list[str]:
    """A command with what it must be given."""
    file = folder / "file"
    file.write_bytes(FILES.get(name, TARIFF))
    found = name.split()[1:]
    for parameter in ALL_COMMANDS[name].params:
        if parameter.required:
            sample = str(file) if parameter.name == "file" else OWN_SAMPLES.get(parameter.name, "1")
            option = parameter.opts[:1] if parameter.param_type_name == "option" else []
            found += [*option, *sample.split()]
    return found + [each.replace("{file}", str(file)) for each in BESIDES.get(name, [])]


KEY = {"ERASURE_KEY": "correct-horse-battery-staple-12345"}
AWAY = "postgresql+psycopg://postgres@127.0.0.1:1/none"


@pytest.fixture
def run(tmp_path):
    """Runs a command with what it must be given; in this process where that can be."""

    def run(name, *more, **settings):
        env = {**os.environ, "DATABASE_URL": AWAY, "RECORDINGS_URL": tmp_path.as_uri(), **KEY, **settings}
        env.setdefault("ARCHIVE_URL", (tmp_path / "archive").as_uri())
        env.setdefault("RECORDINGS_KEYS_URL", f"{tmp_path.as_uri()}-keys")
        run_it = warm().pipeline if name.split()[1] in NEEDS_A_PROCESS else call
        return run_it(*words(name, tmp_path), *more, env=env)

    return run


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_a_wrong_option_is_2(run, name):
    """Nothing is looked at."""
    done = run(name, "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--nonsense" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_setting_is_2(run, name):
    """It is named, without a traceback."""
    done = run(name, PIPELINE_TIMEZONE="Mars/Olympus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "PIPELINE_TIMEZONE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_database_that_is_away_is_3(run, name):
    """Which is not to be taken for something that was found."""
    done = run(name)
    if name == "pipeline db roles":
        assert done.returncode == 0, "it prints what there is to do"
        return
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: the database cannot be used")
    assert "Traceback" not in done.stderr


def test_a_missing_right_is_3(run, engine):
    """A role that may log in and nothing else cannot look, whatever the command."""
    # The owner's; they find nothing to do.
    own = {"pipeline release", "pipeline db upgrade", "pipeline db roles", "pipeline ranges move"}
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE nobody_at_all LOGIN"))
    url = engine.url.set(username="nobody_at_all").render_as_string(hide_password=False)
    try:
        done = {name: run(name, DATABASE_URL=url) for name in COMMANDS if name not in own}
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP ROLE nobody_at_all"))
    assert {name: each.returncode for name, each in done.items()} == dict.fromkeys(done, 3)
    for name, each in done.items():
        assert each.stdout == "", name
        assert "permission denied" in each.stderr, name
        assert "Traceback" not in each.stderr, name


def test_a_fault_of_ours_is_3(run, monkeypatch):
    """With its traceback; a script must not take it for an answer."""
    monkeypatch.setattr("pipeline.cli.balance.database", lambda: 1 / 0)
    done = run("pipeline balance")
    assert done.returncode == 3
    assert "ZeroDivisionError" in done.stderr
