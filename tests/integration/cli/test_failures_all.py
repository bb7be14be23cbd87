"""What a shell does to all failures that match: seen before it is done, done by the workers, and told at the end."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from pipeline.failures.bulk import run_bulk
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk, walk_overdue
from tests.warm import warm


@pytest.fixture
def pipeline(settings_env):
    """Runs a command; its exit code, output and errors."""
    return warm().pipeline


@pytest.fixture
def worker(engine):
    """Does what is asked for, as the workers do."""
    done = threading.Event()

    def work():
        while not done.wait(0.05):
            with engine.connect() as connection:
                asked = connection.scalars(text("SELECT id FROM bulk_actions WHERE ended_at IS NULL")).all()
            for bulk_id in asked:
                run_bulk(engine, bulk_id, seconds=60, region="ZA")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    done.set()
    thread.join()


def misnamed(call_ref):
    return make_record(call_ref=call_ref).replace(b'"call_time"', b'"duration"')


def test_a_field_is_renamed_in_all_records(pipeline, engine, worker):
    """First what would become of them, and nothing else; then it is done, and what it does not mend is left."""
    load(engine)
    walk(engine, receive(engine, *map(misnamed, range(20)), make_record(call_ref=50, call_time=-1)))
    renaming = ("failures", "edit", "--all", "--rename", "duration=call_time")
    seen = pipeline(*renaming, "--dry-run")
    assert seen.returncode == 0, seen.stderr
    assert "21 failures match" in seen.stdout
    assert "20 of 21" in seen.stdout
    assert "1: the record has no duration" in seen.stdout
    assert rows(engine, "SELECT count(*) FROM bulk_actions") == [(0,)]
    assert pipeline(*renaming, stdin="n\n").returncode == 1
    assert rows(engine, "SELECT count(*) FROM bulk_actions") == [(0,)]
    done = pipeline(*renaming, "--yes", "--who", "thandi", "--because", "renamed by the vendor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "20 edited; they go on shortly. 1 other stayed as it was." in done.stdout
    walk_overdue(engine)
    assert rows(engine, "SELECT count(*) FROM ledger") == [(20,)]
    assert rows(engine, "SELECT who, count(*) FROM actions WHERE action = 'edit' GROUP BY 1") == [("thandi", 20)]


def test_all_conflicts_are_accepted(pipeline, engine, worker):
    """What it comes to in money is said first, and that many are hardly corrections."""
    load(engine)
    walk(engine, receive(engine, *(make_record(call_ref=number) for number in range(11))))
    walk(engine, receive(engine, *(make_record(call_ref=number, call_time=600) for number in range(11))))
    seen = pipeline("failures", "accept", "--all", "--dry-run")
    assert seen.returncode == 0
    assert "11 conflicts of 11 calls" in seen.stdout
    assert "ZAR" in seen.stdout
    assert "counts from 1 again" in seen.stderr
    done = pipeline("failures", "accept", "--all", "--yes", "--source", "enigma")
    assert done.returncode == 0, done.stderr
    assert "11 accepted; new charges follow shortly." in done.stdout
    again = pipeline("failures", "accept", "--all", "--yes")
    assert (again.returncode, again.stderr.splitlines()[0]) == (1, "Error: none that matches is open: 11 resolved")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("edit",), "name a failure by its id, or say --all"),
        (("edit", "3", "--all", "--set", "a=1"), "name a failure by its id, or say --all"),
        (("edit", "3"), "give the record as it should have been by --file"),
        (("edit", "--all"), "--rename FIELD=NAME or --set FIELD=VALUE"),
        (("edit", "--all", "--rename", "a"), "--rename must be FIELD=NAME, got 'a'"),
        (("edit", "--all", "--rename", "a=a"), "--rename: is the name it has"),
        (("accept",), "name a failure by its id, or say --all"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_looked_at(pipeline, options, said):
    done = pipeline("failures", *options)
    assert done.returncode == 2
    assert said in done.stderr
