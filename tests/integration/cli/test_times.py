"""Times on the command line, who does something and why, as commands take and show them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.ingest.stops import raise_stop
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk


@pytest.fixture
def run(settings_env):
    """Runs `pipeline ...` in this process; it succeeds unless told otherwise."""

    def run(*arguments, code=0):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done.stdout

    return run


def test_a_day_is_that_of_the_zone(run, engine):
    """A call at half past midnight in Johannesburg is of that day, though UTC still has the day before."""
    load(engine)
    at = datetime(2026, 9, 20, 22, 30, tzinfo=UTC)  # 00:30 on the 21st
    walk(engine, receive(engine, make_record(call_ref=1, dialed_at=int(at.timestamp()))))
    listed = run("recordings", "list", "--since", "2026-09-21", "--until", "2026-09-22")
    assert "2026-09-21 00:30:00 SAST" in listed
    assert "2026-09-20 22:30:00 UTC" in run("recordings", "list", "--since", "2026-09-21 00:30 SAST", "--utc")
    assert json.loads(run("recordings", "list", "--until", "2026-09-21", "--json")) == []
    (row,) = json.loads(run("recordings", "list", "--until", "2026-09-20T22:30:01Z", "--json"))
    assert row["dialed_at"] == "2026-09-20T22:30:00+00:00"
    (row,) = csv.DictReader(run("recordings", "list", "--format", "csv").splitlines())
    assert (row["call_ref"], row["dialled"]) == ("1", "2026-09-21 00:30:00 SAST")


def test_a_balance_by_when_calls_were_dialled(run, engine):
    """The batches that have a call of that day, whole; by when they were received they are all of today."""
    load(engine)
    for day in (21, 22):
        dialed = [int(datetime(2026, 9, day, 10, minute, tzinfo=UTC).timestamp()) for minute in range(day - 20)]
        walk(engine, receive(engine, *(make_record(dialed_at=each) for each in dialed)))
    day = ("--since", "2026-09-22", "--until", "2026-09-23")
    assert json.loads(run("balance", *day, "--by", "dialled", "--json"))["received"] == {"records": 2}
    assert json.loads(run("balance", *day, "--json"))["received"] == {"records": 0}
    assert json.loads(run("balance", "--json"))["received"] == {"records": 3}
    places = {row["place"].strip(): row for row in csv.DictReader(run("balance", "--format", "csv").splitlines())}
    assert places["processed"]["records"] == "3"


def test_who_loads_assigns_and_rerates_is_kept(run, engine, tmp_path):
    """Instead of the system's user."""
    file = tmp_path / "t.csv"
    file.write_text("prefix,rate_per_minute\n27,0.60\n")
    run("tariff", "load", file, "--who", "ann")
    run("tariff", "assign", "campaign001", "default", "--who", "ben")
    run("tariff", "unassign", "campaign001", "--who", "cleo")
    walk(engine, receive(engine, make_record(call_time=60)))
    file.write_text("prefix,rate_per_minute\n27,0.90\n")
    run("tariff", "load", file, "--who", "dan")
    run("rerate", "--since", "2026-09-01", "--until", "2026-10-01", "--who", "eve")
    assert rows(engine, "SELECT loaded_by FROM tariff_versions ORDER BY version") == [("ann",), ("dan",)]
    kept = {row.who for row in rows(engine, "SELECT DISTINCT who FROM actions")}
    assert {"ben", "cleo", "eve"} <= kept <= {"ann", "ben", "cleo", "dan", "eve"}
    (listed, _) = csv.DictReader(run("tariff", "list", "--format", "csv").splitlines())
    assert (listed["version"], listed["state"], listed["by"]) == ("2", "in force", "dan")


def test_the_old_names_of_options_still_do(run, engine):
    """Scripts that say --said, or --reason for why, go on."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=1), make_record(call_ref=2)))
    failed = "UPDATE recordings SET reason = 'answered 502', state = 'failed', due_at = NULL, ended_at = now()"
    for words in (["--all", "--state", "failed", "--said", "answered 502"], ["1", "2", "--reason", "mended"]):
        with engine.begin() as connection:
            connection.execute(text(failed))
        assert run("recordings", "retry", *words) == "2 recordings scheduled again.\n"
    run("recordings", "hold", "1", "--reason", "court")
    run("recordings", "release", "1", "--reason", "settled")
    with engine.begin() as connection:
        connection.execute(text(failed))
    run("recordings", "retry", "--all", "--state", "failed", "--reason", "mended", code=1)  # chooses, and says so
    reasons = rows(engine, "SELECT detail ->> 'reason' FROM actions WHERE action LIKE '%recording%' ORDER BY id")
    assert {"mended", "court", "settled"} <= {reason for (reason,) in reasons}


def test_a_stop_is_shown_in_the_zone(run, engine):
    """As everywhere."""
    with engine.begin() as connection:
        raise_stop(connection, "north", "fuse", "too many")
        connection.execute(text("UPDATE stops SET stopped_at = '2026-11-24T19:00:05Z'"))
    assert "north\tfuse\t2026-11-24 21:00:05 SAST\tstill stopped\t\ttoo many" in run("stops", "list", code=1)
    assert "2026-11-24 19:00:05 UTC" in run("stops", "list", "--utc", code=1)
