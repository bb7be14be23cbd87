"""`pipeline subject`: what a person sees, and what rubbish comes to."""

from __future__ import annotations

import json
import os

import pytest

from tests.commands import call
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk

SECRET = "correct-horse-battery-staple-12345"
NUMBER = "083 123 4567"


@pytest.fixture
def subject(engine, tmp_path):
    """Runs a command, where one call of the number is."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=1, number=NUMBER), make_record(call_ref=2)))
    url = engine.url.render_as_string(hide_password=False)

    def run(*words, **settings):
        env = {**os.environ, "DATABASE_URL": url, "RECORDINGS_URL": (tmp_path / "store").as_uri()}
        return call("subject", *words, env=env | {"ERASURE_KEY": SECRET} | settings)

    return run


def test_all_that_is_held_is_written_as_json(subject):
    """By table, what is known of one's calls."""
    done = subject("export", NUMBER)
    told = json.loads(done.stdout)
    assert (done.returncode, told["number"]) == (0, "+27831234567")
    assert {"calls", "inbox", "ledger", "dispositions", "recordings", "contacts"} <= set(told["held"])
    assert [each["call_ref"] for each in told["held"]["calls"]] == ["1"]
    assert NUMBER in told["held"]["inbox"][0]["raw"]


def test_it_is_erased_and_gone(subject, engine):
    """First looked at, then done, then there is nothing of it."""
    dry = subject("erase", NUMBER, "--because", "asked for", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["counts"]["calls"] == 1
    assert rows(engine, "SELECT count(*) FROM erased_numbers") == [(0,)]
    done = subject("erase", NUMBER, "--because", "asked for", "--who", "officer", "--json")
    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)
    assert (proof["state"], proof["who"], proof["counts"]["calls"]) == ("done", "officer", 1)
    assert "31234567" not in done.stdout
    assert subject("export", NUMBER).returncode == 1
    assert subject("erase", NUMBER, "--because", "x", "--dry-run").returncode == 1


@pytest.mark.parametrize("number", ["", "abc", "2001", "10111", "0831234567x", "1" * 30, "+", "\u0660" * 10])
@pytest.mark.parametrize("command", ["export", "erase", "hold", "release"])
def test_what_is_no_number_is_refused(command, number):
    """In a sentence, and nothing is looked at: there is no database here."""
    because = [] if command == "export" else ["--because", "x"]
    env = {**os.environ, "DATABASE_URL": "postgresql+psycopg://postgres@127.0.0.1:1/none"}
    done = call("subject", command, *because, "--", number, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no telephone number" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_blank_reason_is_none(subject):
    """It has to be said why."""
    done = subject("erase", NUMBER, "--because", "  ")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("key", ["", "short", "a" * 40])
def test_a_missing_or_weak_key_is_said(subject, engine, key):
    """Before anything is changed."""
    done = subject("erase", NUMBER, "--because", "x", ERASURE_KEY=key)
    assert done.returncode == (2 if key else 3)
    assert "ERASURE_KEY" in done.stderr
    assert not key or key not in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(engine, "SELECT count(*) FROM erasures") == [(0,)]


def test_a_hold_stands_and_falls(subject):
    """And is named in both answers."""
    assert subject("hold", NUMBER, "--because", "case 9").returncode == 0
    for more in ([], ["--dry-run"]):
        done = subject("erase", NUMBER, "--because", "x", *more)
        assert done.returncode == 1
        assert "case 9" in done.stderr
    assert subject("release", NUMBER, "--because", "over").returncode == 0
    assert subject("release", NUMBER, "--because", "over").returncode == 1
    assert subject("erase", NUMBER, "--because", "x").returncode == 0


def test_marks_go_out_and_come_back(subject, engine, tmp_path):
    """As after a restore: the database has neither the mark nor what was done."""
    file = tmp_path / "marks.jsonl"
    assert subject("erase", NUMBER, "--because", "x").returncode == 0
    assert subject("marks", "--output", str(file)).returncode == 0
    with engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE erased_numbers")
    walk(engine, receive(engine, make_record(call_ref=3, number=NUMBER)))
    done = subject("reapply", str(file), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"marks_added": 1, "erased": 1, "held": 0}
    assert subject("export", NUMBER).returncode == 1


def test_a_file_of_marks_that_cannot_be_written_or_read(subject, tmp_path):
    """Is named."""
    assert subject("marks", "--output", str(tmp_path / "none" / "marks")).returncode == 2
    (tmp_path / "junk").write_bytes(b"junk")
    done = subject("reapply", str(tmp_path / "junk"))
    assert done.returncode == 1
    assert "line 1 is no mark" in done.stderr
