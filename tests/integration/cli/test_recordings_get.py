"""Getting a stored recording out: whole and kept in the history, or a sentence why not."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.lookup.history import history_of
from pipeline.lookup.told import events
from tests.integration.recording_rows import BATCH, change, scheduled

DATA = bytes(range(256)) * 9_000
"""More than is read at once."""


@pytest.fixture
def run(settings_env, monkeypatch, tmp_path):
    """Runs `pipeline recordings get ...` in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return lambda *arguments: CliRunner().invoke(app, ["recordings", "get", *map(str, arguments)])


@pytest.fixture
def kept(tmp_path, engine):
    """The stored recording of call 845, as a file of the store."""
    path = tmp_path / "recordings" / "enigma" / "845.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    scheduled(engine, 845)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE recordings SET state = 'stored', due_at = NULL, ended_at = now(), path = 'enigma/845.wav', "
                "size_bytes = :size, sha256 = :sha256"
            ),
            {"size": len(DATA), "sha256": hashlib.sha256(DATA).digest()},
        )
    return path


def fetches(engine):
    with engine.connect() as connection:
        found = connection.execute(text("SELECT who, detail FROM actions WHERE action = 'recording fetched'"))
        return [tuple(row) for row in found]


def test_it_writes_the_file_and_keeps_who_has_it(run, engine, kept, tmp_path):
    """By its own name in the working folder, for nobody else to read; `explain` tells who fetched it and why."""
    done = run("845", "--who", "ann", "--because", "a complaint")
    assert (done.exit_code, done.stdout) == (0, "845.wav has the recording of call 845: 2.3 MB, as it was stored.\n")
    written = tmp_path / "here" / "845.wav"
    assert written.read_bytes() == DATA
    assert written.stat().st_mode & 0o777 == 0o600
    assert fetches(engine) == [("ann", {"reason": "a complaint"})]
    with engine.connect() as connection:
        told = events(history_of(connection, "845", "enigma"))
    assert any(each.event == "recording fetched" and "ann" in each.detail for each in told)


def test_it_writes_to_standard_output(run, kept):
    """The bytes, and nothing else."""
    done = run("845", "--output", "-")
    assert (done.exit_code, done.stdout_bytes) == (0, DATA)


def test_it_writes_where_it_is_told_to(run, kept, tmp_path):
    """To a file, or into a folder by its own name."""
    assert run("845", "-o", tmp_path / "x.wav").exit_code == 0
    assert run("845", "-o", tmp_path / "here").exit_code == 0
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "here" / "845.wav").read_bytes() == DATA
    done = run("845", "-o", tmp_path / "none" / "x.wav")
    assert done.exit_code == 2
    assert "No such file or directory" in done.stderr


def test_it_overwrites_only_when_told_to(run, engine, kept, tmp_path):
    """A file that is there stays, and nobody has fetched anything."""
    there = tmp_path / "here" / "845.wav"
    there.write_bytes(b"mine")
    done = run("845")
    assert done.exit_code == 1
    assert "845.wav is there already" in done.stderr
    assert "--force" in done.stderr
    assert there.read_bytes() == b"mine"
    assert fetches(engine) == []
    assert run("845", "--force").exit_code == 0
    assert there.read_bytes() == DATA


def test_a_file_that_differs_is_not_handed_on_as_the_recording(run, kept, tmp_path):
    """Size and SHA-256 are compared: nothing is left under the name, nor beside it."""
    for spoilt, said in ((DATA[:-1] + b"?", "other bytes"), (DATA[:-1], f"{len(DATA) - 1} bytes")):
        kept.write_bytes(spoilt)
        done = run("845")
        assert done.exit_code == 1
        assert said in done.stderr
        assert list((tmp_path / "here").iterdir()) == []
    assert run("845", "-o", "-").exit_code == 1


def test_a_file_that_is_gone_is_nobodys_fetch(run, engine, kept):
    """The store has no such file: that is said, with what to look at."""
    kept.unlink()
    done = run("845")
    assert done.exit_code == 1
    assert "no file enigma/845.wav" in done.stderr
    assert "RECORDINGS_URL" in done.stderr
    assert fetches(engine) == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("state = 'scheduled', reason = 'The dialler has none yet.', attempts = 2", "is not here yet: 2 tries so far"),
        ("state = 'scheduled', reason = NULL, attempts = 0", "is not here yet: it was not tried so far"),
        ("state = 'downloading'", "is just being downloaded"),
        ("state = 'absent', reason = 'The dialler has no such recording.'", "the dialler has none"),
        ("state = 'expired', reason = 'It was tried for 48 hours.'", "given up after its time: It was tried for 48"),
        ("state = 'failed', reason = 'It is no audio.'", "could not be stored: It is no audio."),
        ("state = 'stored', path = 'p', deleted_at = '2026-03-04T08:00Z', deleted_reason = 'It is 90 days old.'",
         "was deleted at 2026-03-04 10:00:00"),
    ],
)  # fmt: skip
def test_why_there_is_none(run, engine, state, said):
    """Each state in its own words, exit code 1, and nothing kept."""
    scheduled(engine, 845)
    change(engine, f"{state}")
    done = run("845")
    assert done.exit_code == 1
    assert said in done.stderr
    assert fetches(engine) == []


def test_a_call_that_has_none(run, engine):
    """A call without audio, and one that is not there at all."""
    scheduled(engine, 845)
    change(engine, "disposition = 'busy', can_have_audio = false", table="dispositions")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM recordings"))
    done = run("845")
    assert done.exit_code == 1
    assert "call 845 has no recording: it ended as busy" in done.stderr
    done = run("846")
    assert done.exit_code == 1
    assert "no call has the reference 846" in done.stderr


def test_two_diallers_have_the_reference(run, engine, kept):
    """The source must be said; that of another environment may be in a store that only it knows."""
    scheduled(engine, 845, source="south", batch=BATCH + 1)
    done = run("845")
    assert done.exit_code == 1
    assert "--source, one of: enigma, south" in done.stderr
    assert run("845", "--source", "enigma").exit_code == 0
    change(engine, "state = 'stored', path = 'south/845.wav', size_bytes = 1, sha256 = 'x' WHERE source = 'south'")
    done = run("845", "--source", "south", "--force")
    assert done.exit_code == 1
    assert "ENIGMA_SOURCE=south" in done.stderr
