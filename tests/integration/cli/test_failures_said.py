"""What `pipeline failures` says: records as JSON, why a failure was discarded, and why nothing was to be done."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk


@pytest.fixture
def run(settings_env):
    """Runs `pipeline failures ...` in this process, on a terminal of 80 columns."""
    return lambda *arguments: CliRunner().invoke(app, ["failures", *map(str, arguments)])


@pytest.fixture
def refused(engine):
    """The ids of three failures: two negative talk times, and rubbish."""
    walk(engine, receive(engine, make_record(call_ref="7", call_time=-1), make_record(call_time=-2), b"rubbish"))
    return [row.id for row in rows(engine, "SELECT id FROM failures ORDER BY id")]


def below(output, heading):
    return output.partition(f"\n{heading}\n")[2].split("\n\n")[0]


class TestShow:
    def test_a_record_is_json(self, run, engine):
        """Whole lines, however narrow the terminal, and no colours: what is shown can be mended and given to edit."""
        record = make_record(call_ref="7", call_time=-1, recording_url="/var/recordings/" + "x" * 200)
        walk(engine, receive(engine, record))
        (failure,) = rows(engine, "SELECT id FROM failures")
        shown = run("show", failure.id).stdout
        assert json.loads(below(shown, "Raw record as received")) == json.loads(record)
        assert "\x1b" not in shown

    def test_a_conflict_has_both_records(self, run, engine):
        """The record that came, and the one its call is stored by; neither as Python writes bytes."""
        load(engine)
        stored, changed = make_record(call_ref="7", call_time=60), make_record(call_ref="7", call_time=120)
        walk(engine, receive(engine, stored))
        walk(engine, receive(engine, changed))
        (failure,) = rows(engine, "SELECT id FROM failures")
        shown = run("show", failure.id).stdout
        assert json.loads(below(shown, "Raw record as received")) == json.loads(changed)
        assert json.loads(below(shown, "Raw record of the stored call")) == json.loads(stored)
        assert "b'" not in shown
        assert json.loads(json.loads(run("show", failure.id, "--json").stdout)["stored"]) == json.loads(stored)

    def test_why_it_was_discarded(self, run, refused):
        """Who gave it up and why stands with its state and in what was done to it."""
        run("discard", refused[0], "--because", "a wrong test", "--who", "ann")
        shown = run("show", refused[0]).stdout
        assert "discarded        by ann: a wrong test" in shown
        assert "discard by ann: a wrong test" in shown
        assert "discarded  " not in run("show", refused[1]).stdout

    def test_a_record_too_long_for_a_terminal_is_cut_and_says_so(self, run, engine):
        """Nobody reads a hundred thousand bytes; the whole of it is in the JSON."""
        walk(engine, receive(engine, b"x" * 100_000))
        shown = run("show", rows(engine, "SELECT id FROM failures")[0].id).stdout
        assert len(shown) < 25_000
        assert "--json has all of it" in shown


class TestNothingToDo:
    def test_what_is_no_longer_open(self, run, engine, refused):
        """Each id with its state, and one that nobody knows."""
        run("discard", refused[0], "--because", "a test")
        run("retry", refused[1])
        done = run("retry", refused[0], refused[1], 4711)
        assert (done.exit_code, done.stdout) == (1, "")
        said = done.stderr.splitlines()
        assert said[0] == "Error: nothing was to be done"
        assert f"failure {refused[0]} is discarded" in said
        assert f"failure {refused[1]} is being tried again already" in said
        assert "there is no failure 4711" in said

    def test_a_part_of_them(self, run, refused):
        """What was done is counted; what was passed over is named, and the exit code is still 0."""
        run("discard", refused[0], "--because", "a test")
        done = run("retry", *refused)
        assert (done.exit_code, done.stdout) == (0, "2 released; their batches go on shortly.\n")
        assert done.stderr == f"failure {refused[0]} is discarded\n"

    def test_filters_that_match_nothing_open(self, run, refused):
        """None at all, or how many there are in other states."""
        done = run("retry", "--all", "--class", "bug")
        assert (done.exit_code, done.stderr) == (1, "Error: no failure matches\n")
        run("discard", "--all", "--because", "a test")
        for command in (("retry",), ("discard", "--because", "a test")):
            done = run(*command, "--all", "--class", "data")
            assert (done.exit_code, done.stderr) == (1, "Error: none that matches is open: 3 discarded\n")

    def test_a_filter_beside_ids(self, run, refused):
        """A failure that is open and was left out by a filter is not said to be anything else."""
        done = run("retry", refused[0], "--class", "bug")
        assert done.exit_code == 1
        assert f"failure {refused[0]} is open, and left out by a filter" in done.stderr
