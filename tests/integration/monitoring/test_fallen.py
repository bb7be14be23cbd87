"""Numbers called from whose answer rate fell, on rows; the gauge that counts them and the command that names them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.monitoring.fallen import fallen_numbers
from pipeline.record_ids import first_record
from tests.patience import eventually

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TODAY = timedelta(hours=5)
LAST_WEEK = timedelta(days=7)

CALLS = """
INSERT INTO calls (id, source, call_ref, campaign_ref, dial_number, client_number_is_e164, dial_number_is_e164,
                   direction, dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash)
SELECT :first + n, :source, :first + n, 'spring', :number, true, true, :direction, cast(:at AS timestamptz), 0, 'busy',
       true, '\\x00'
FROM generate_series(0, :calls - 1) AS n
"""
DISPOSITIONS = """
INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                          can_have_audio)
SELECT :first + n, CASE WHEN n < :answered THEN 'answered' ELSE 'no_answer' END, false, 'so', false, false, false, false
FROM generate_series(0, :calls - 1) AS n
"""


def dial(engine, number, ago, calls, answered, *, now=NOW, source="enigma", direction="outbound", classified=True):
    """Calls from a number, all at one time, so many of them answered; received a minute later."""
    at = now - ago
    values = {"number": number, "at": at, "calls": calls, "source": source, "direction": direction}
    with engine.begin() as connection:
        batch = connection.execute(
            text(
                "INSERT INTO batches (claim, source, records, received_at, due_at) "
                "VALUES (gen_random_uuid(), :source, :calls, :received, now()) RETURNING id"
            ),
            {"source": source, "calls": calls, "received": at + timedelta(minutes=1)},
        ).scalar_one()
        connection.execute(text(CALLS), values | {"first": first_record(batch)})
        if classified:
            values = {"first": first_record(batch), "calls": calls, "answered": answered}
            connection.execute(text(DISPOSITIONS), values)


def found(engine, **options):
    with engine.connect() as connection:
        return [each.dial_number for each in fallen_numbers(connection, NOW, **options)]


@pytest.mark.parametrize(
    ("attempts", "answered", "is_found"),
    [(200, 24, True), (199, 23, False), (1_000, 120, True), (1_000, 121, False), (1_000, 0, True), (1_000, 400, False)],
)
def test_a_fall_of_two_fifths_of_two_hundred_calls(engine, attempts, answered, is_found):
    """Before, a fifth of the calls was answered."""
    dial(engine, "+27110000001", LAST_WEEK, 2_000, 400)
    dial(engine, "+27110000001", TODAY, attempts, answered)
    assert found(engine) == (["+27110000001"] if is_found else [])


@pytest.mark.parametrize(("before", "is_found"), [(200, True), (199, False)])
def test_what_was_before_must_be_as_many(engine, before, is_found):
    """Else nothing is known that it could have fallen from; a number without a past has not fallen."""
    dial(engine, "+27110000001", LAST_WEEK, before, before)
    dial(engine, "+27110000001", TODAY, 300, 3)
    dial(engine, "+27110000002", TODAY, 300, 3)
    assert found(engine) == (["+27110000001"] if is_found else [])


def test_the_day_and_the_fourteen_before_it(engine):
    """To the second: a day ago is of the day, a moment before is not, and older than 15 days is no more."""
    moment = timedelta(seconds=1)
    for ago, calls, answered in (
        (timedelta(days=15) + moment, 3_000, 3_000),  # too old
        (timedelta(days=15), 300, 100),
        (timedelta(days=1) + moment, 300, 80),
        (timedelta(days=1), 250, 25),
        (moment, 250, 20),
        (timedelta(0), 3_000, 3_000),  # not before now
    ):
        dial(engine, "+27110000001", ago, calls, answered)
    with engine.connect() as connection:
        [number] = fallen_numbers(connection, NOW)
    assert number[1:] == (500, 45, 600, 180)


def test_only_calls_that_went_out_and_are_classified_count(engine):
    """Calls that came in are answered by us, and what is not classified yet may have been answered."""
    dial(engine, "+27110000001", LAST_WEEK, 500, 100)
    dial(engine, "+27110000001", TODAY, 300, 60)
    dial(engine, "+27110000001", TODAY, 900, 0, direction="inbound")
    dial(engine, "+27110000001", TODAY, 900, 0, classified=False)
    dial(engine, None, LAST_WEEK, 500, 100)
    dial(engine, None, TODAY, 300, 0)
    assert found(engine) == []


def test_a_number_of_several_diallers_is_one(engine):
    """Or each by itself, when asked for; what fell deepest comes first."""
    for source, answered in (("north", 10), ("south", 2)):
        dial(engine, "+27110000001", LAST_WEEK, 400, 80, source=source)
        dial(engine, "+27110000001", TODAY, 150, answered, source=source)
    dial(engine, "+27110000002", LAST_WEEK, 400, 80, source="south")
    dial(engine, "+27110000002", TODAY, 300, 1, source="south")
    assert found(engine) == ["+27110000002", "+27110000001"]
    assert found(engine, source="south") == ["+27110000002"]
    assert found(engine, source="north") == []


def test_an_empty_database_has_none(engine):
    assert found(engine) == []


def test_the_gauge_counts_them_once_an_hour(engine, registry, clock):
    """Beside whoever asks, who gets what was found last."""
    now = datetime.now(tz=UTC)
    for number in ("+27110000001", "+27110000002"):
        dial(engine, number, LAST_WEEK, 400, 80, now=now)
    dial(engine, "+27110000001", TODAY, 300, 3, now=now)

    def value():
        return registry.get_sample_value("cdr_dial_numbers_fallen")

    eventually(lambda: value() == 1)
    dial(engine, "+27110000002", TODAY, 300, 3, now=now)
    clock.now += 3_599
    assert value() == 1
    clock.now += 1
    eventually(lambda: value() == 2)
    assert registry.get_sample_value("cdr_state_query_failures_total", {"query": "fallen numbers"}) == 0


def test_when_it_cannot_be_read_it_is_tried_again_soon(engine, registry, clock):
    """And counted; nothing is told meanwhile, rather than what was."""
    failed = ("cdr_state_query_failures_total", {"query": "fallen numbers"})
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE batches RENAME TO elsewhere"))
    eventually(lambda: registry.get_sample_value(*failed) == 1)
    assert registry.get_sample_value("cdr_dial_numbers_fallen") is None
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO batches"))
    clock.now += 10
    eventually(lambda: registry.get_sample_value("cdr_dial_numbers_fallen") == 0)


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline report fallen ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *words: CliRunner().invoke(app, ["report", "fallen", *words], catch_exceptions=False)


@pytest.fixture
def one_fell(engine):
    dial(engine, "+27110000001", LAST_WEEK, 400, 80)
    dial(engine, "+27110000001", TODAY, 300, 30)


UNTIL = ("--until", "2026-11-24T12:00Z")
FIGURES = {
    "dial_number": "+27110000001",
    "attempts": 300,
    "answered": 30,
    "answer_rate": "0.1000",
    "attempts_before": 400,
    "answered_before": 80,
    "answer_rate_before": "0.2000",
    "fall": "0.5000",
}


def test_the_command_names_them(run, one_fell):
    """With both rates, to people, spreadsheets and scripts."""
    assert json.loads(run(*UNTIL, "--json").stdout) == {
        "until": "2026-11-24T12:00:00+00:00",
        "source": None,
        "fallen": [FIGURES],
    }
    [heading, row] = csv.reader(io.StringIO(run(*UNTIL, "--format", "csv").stdout))
    assert heading == list(FIGURES)
    assert row == ["'+27110000001", *(str(each) for each in list(FIGURES.values())[1:])]
    shown = run(*UNTIL).output
    assert "+27110000001\t300\t30\t10.0 %\t400\t80\t20.0 %\t50.0 %" in shown
    assert "24 hours until 2026-11-24 14:00 SAST" in shown


def test_the_day_before_is_another_day(run, one_fell):
    """By then it had not fallen; what is no time, or before all time, is refused."""
    assert "No number's answer rate fell by 40 %" in run("--until", "2026-11-23").output
    assert run("--until", "soon").exit_code == 2
    for old in ("0001-01-05", "1969-07-20"):
        refused = run("--until", old)
        assert refused.exit_code == 2
        assert "before any call can have been dialled" in " ".join(refused.stderr.replace("│", " ").split())
    unknown = run("--source", "nord")
    assert unknown.exit_code == 1
    assert "there is enigma" in unknown.stderr
