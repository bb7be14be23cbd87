"""The traffic of real rows: worked by hand, by whatever it is broken down, in whatever zone."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, text
from typer.testing import CliRunner

from pipeline.batches.rules.steps import Step
from pipeline.billing.billed_calls import Selection
from pipeline.cli import app
from pipeline.lookup.traffic_report import TrafficBy, traffic_by
from pipeline.settings import current_settings
from tests.factories import make_record
from tests.integration.flow import receive, walk

ZONE = ZoneInfo("Africa/Johannesburg")


def at(local):
    return int(datetime.fromisoformat(local).replace(tzinfo=ZONE).timestamp())


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline report traffic ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)

    def run(*arguments):
        return CliRunner().invoke(app, ["report", "traffic", *map(str, arguments)], catch_exceptions=False)

    return run


def unanswered(**changes):
    return make_record(**{"extension": None, "call_time": 0, "end_reason": "callee_hungup"} | changes)


@pytest.fixture
def called(engine):
    """Three calls of one hour, five of the next, and one of another dialler that is not classified yet."""
    spring = [
        make_record(ref="spring", dialed_at=at("2026-09-10T09:10:00"), call_time=60, hold_time=3),
        make_record(ref="spring", dialed_at=at("2026-09-10T09:50:00"), call_time=121, hold_time=5),
        unanswered(ref="spring", dialed_at=at("2026-09-10T09:59:59"), hold_time=20),  # abandoned
        unanswered(ref="spring", dialed_at=at("2026-09-10T10:00:00")),  # perhaps: nobody says that it waited
    ]
    autumn = [
        unanswered(dialed_at=at("2026-09-10T10:30:00"), end_reason="voicemail"),
        unanswered(dialed_at=at("2026-09-10T10:31:00"), end_reason="busy", end_code="17", dial_number=None),
        unanswered(dialed_at=at("2026-09-10T10:40:00"), end_reason="error", end_code="38", hold_time=9),  # perhaps
        unanswered(dialed_at=at("2026-09-10T10:50:00"), end_reason="strange", end_code=None),  # unknown
    ]
    walk(engine, receive(engine, *spring, *autumn))
    waits = make_record(ref="spring", dialed_at=at("2026-09-12T08:00:00"), call_dir="inbound", call_time=5)
    walk(engine, receive(engine, waits, source="south"), steps=(Step.NORMALIZE,))


NINE = {
    "attempts": 3,
    "answered": 2,
    "answer_rate": "0.6667",
    "talk_seconds": 181,
    "acd_seconds": "90.5",
    "abandoned": 1,
    "perhaps_abandoned": 0,
    "undecided": 0,
    "abandon_low": "0.3333",
    "abandon_high": "0.3333",
    "voicemail": 0,
    "voicemail_share": "0.0000",
    "held": 3,
    "hold_p50": 5,
    "hold_p95": 20,
}
TEN = {
    "attempts": 5,
    "answered": 0,
    "answer_rate": "0.0000",
    "talk_seconds": 0,
    "acd_seconds": None,
    "abandoned": 0,
    "perhaps_abandoned": 2,
    "undecided": 1,
    "abandon_low": "0.0000",
    "abandon_high": "1.0000",
    "voicemail": 1,
    "voicemail_share": "0.2000",
    "held": 0,
    "hold_p50": None,
    "hold_p95": None,
}


def told(run, *arguments, by="hour"):
    return json.loads(run("--month", "2026-09", "--by", by, *arguments, "--json").stdout)


def test_each_figure_is_what_it_is_by_hand(run, called):
    """Of an hour in which all is known, of one in which little is, and of all together."""
    answer = told(run, "--source", "enigma")
    assert answer["traffic"] == [
        {"hour": "2026-09-10T09:00+02:00"} | NINE,
        {"hour": "2026-09-10T10:00+02:00"} | TEN,
    ]
    whole = answer["total"]
    assert (whole["attempts"], whole["answer_rate"], whole["acd_seconds"]) == (8, "0.2500", "90.5")
    assert (whole["abandon_low"], whole["abandon_high"]) == ("0.2500", "0.6667")  # 1 of 4, 4 of 6
    assert (whole["hold_p50"], whole["held"]) == (5, 3)
    assert (answer["timezone"], answer["source"], answer["direction"]) == ("Africa/Johannesburg", "enigma", None)


def groups(run, *arguments, by):
    return {each[by]: (each["attempts"], each["answered"]) for each in told(run, *arguments, by=by)["traffic"]}


@pytest.mark.parametrize(
    ("by", "found"),
    [
        (
            "hour",
            {"2026-09-10T09:00+02:00": (3, 2), "2026-09-10T10:00+02:00": (5, 0), "2026-09-12T08:00+02:00": (1, 0)},
        ),
        ("day", {"2026-09-10": (8, 2), "2026-09-12": (1, 0)}),
        ("campaign", {"campaign001": (4, 0), "spring": (5, 2)}),
        ("agent", {"": (6, 0), "2001": (3, 2)}),
        ("dial_number", {"": (1, 0), "+27123456789": (8, 2)}),
    ],
)
def test_by_each(run, called, by, found):
    """Every call is in one group, and the groups come to the same."""
    assert groups(run, by=by) == found
    whole = told(run, by=by)["total"]
    assert (whole["attempts"], whole["answered"], whole["undecided"]) == (9, 2, 2)
    assert (whole["abandon_low"], whole["abandon_high"]) == ("0.2000", "0.7143")  # 1 of 5, 5 of 7


def test_what_is_chosen(run, called):
    """One dialler, one campaign, one direction, or a window, which may begin within an hour."""
    assert groups(run, "--source", "south", by="day") == {"2026-09-12": (1, 0)}
    assert groups(run, "--campaign", "spring", "--direction", "outbound", by="day") == {"2026-09-10": (4, 2)}
    assert groups(run, "--direction", "inbound", by="campaign") == {"spring": (1, 0)}
    window = ("--since", "2026-09-10 09:50", "--until", "2026-09-10 10:30", "--by", "hour", "--json")
    found = json.loads(run(*window).stdout)["traffic"]
    assert [(each["hour"], each["attempts"]) for each in found] == [
        ("2026-09-10T09:00+02:00", 2),
        ("2026-09-10T10:00+02:00", 1),
    ]
    assert json.loads(run("--since", "2026-09-12", "--until", "2026-09-13", "--json").stdout)["total"]["attempts"] == 1


def test_hours_and_days_may_be_those_of_utc(run, called):
    assert next(iter(groups(run, "--utc", by="hour"))) == "2026-09-10T07:00+00:00"
    assert told(run, "--utc")["timezone"] == "UTC"


def test_a_day_on_which_clocks_are_changed(run, engine, monkeypatch):
    """The hour that is there twice is two; the day is one, of 25 hours."""
    monkeypatch.setenv("PIPELINE_TIMEZONE", "Europe/Berlin")
    current_settings.cache_clear()
    first = datetime.fromisoformat("2026-10-25T00:30:00+00:00")
    dialled = [first + timedelta(hours=hours) for hours in (-3, -2, 0, 1, 1, 22, 23)]
    walk(engine, receive(engine, *(make_record(dialed_at=int(each.timestamp())) for each in dialled)))

    def many(by, *more):
        answer = json.loads(run("--since", "2026-10-24", "--until", "2026-10-27", "--by", by, "--json", *more).stdout)
        return {each[by]: each["attempts"] for each in answer["traffic"]}

    assert many("hour") == {
        "2026-10-24T23:00+02:00": 1,
        "2026-10-25T00:00+02:00": 1,
        "2026-10-25T02:00+02:00": 1,
        "2026-10-25T02:00+01:00": 2,
        "2026-10-25T23:00+01:00": 1,
        "2026-10-26T00:00+01:00": 1,
    }
    assert many("day") == {"2026-10-24": 1, "2026-10-25": 5, "2026-10-26": 1}
    assert many("day", "--utc") == {"2026-10-24": 2, "2026-10-25": 5}


def test_csv_runs_nothing(run, engine):
    """Figures without separators, nothing where there is no rate, and a name that could be a formula as text."""
    walk(engine, receive(engine, unanswered(ref="=spring", dialed_at=at("2026-09-10T10:31:00"), end_reason="busy")))
    lines = list(csv.reader(io.StringIO(run("--month", "2026-09", "--by", "campaign", "--format", "csv").stdout)))
    assert lines == [
        ["campaign", *NINE],
        ["'=spring", "1", "0", "0.0000", "0", "", "0", "0", "0", "", "", "0", "0.0000", "0", "", ""],
    ]


def test_table(run, called):
    """People get percent and seconds, a dash for what is not there, and are told what two bounds mean."""
    output = run("--month", "2026-09", "--by", "hour", "--source", "enigma").output
    lines = [line.split("\t") for line in output.splitlines()]
    assert lines[0][:4] == ["hour", "attempts", "answered", "answer rate"]
    assert lines[1][1:] == ["3", "2", "66.7 %", "90.5 s", "33.3 %", "33.3 %", "0.0 %", "5 s", "20 s"]
    assert lines[2][1:] == ["5", "0", "0.0 %", "-", "0.0 %", "100.0 %", "20.0 %", "-", "-"]
    assert lines[3][:2] == ["all", "8"]
    assert "lies between both" in output
    assert "lies between both" not in run("--since", "2026-09-10", "--until", "2026-09-10 10:00").output
    assert "No call was dialled then." in run("--month", "2020-01").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say --month, or --since"),
        (("--month", "2026-09", "--since", "2026-09-01"), "say --month, or --since"),
        (("--month", "2026-09", "--until", "2026-09-01"), "say --month, or --since"),
        (("--month", "September"), "must be a month"),
        (("--month", "2026-13"), "must be a month"),
        (("--since", "yesterday"), "must be a date or a time"),
        (("--since", "2026-09-02", "--until", "2026-09-01"), "must be later than --since"),
        (("--since", "2026-09-02", "--until", "2026-09-02"), "must be later than --since"),
        (("--since", "2024-09-01", "--until", "2026-09-01"), "must be within 366 days of --since"),
        (("--since", "0001-01-02", "--by", "hour"), "must be within 366 days of --since"),
        (("--since", "9999-12-30"), "is still to come"),
        (("--month", "2026-09", "--by", "prefix"), "'prefix' is not one of"),
        (("--month", "2026-09", "--json", "--format", "csv"), "exclude each other"),
    ],
)
def test_rubbish(run, arguments, said):
    """What cannot be counted is refused, and why."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_the_ends_of_time_are_no_trouble(run, called):
    """A window nobody called in, however far away."""
    assert "No call was dialled then." in run("--month", "9000-01", "--by", "hour").output
    assert "No call was dialled then." in run("--since", "1900-01-01", "--until", "1900-03-01", "--by", "hour").output


YEARS = """
INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction, dialed_at,
                   talk_seconds, end_reason, recording_url_sent, content_hash)
SELECT n, 'enigma', n, 'campaign' || n % 40, true, true, 'outbound',
       cast('2024-01-01' AS timestamptz) + n * interval '13 minutes', 0, 'busy', true, '\\x00'
FROM generate_series(1, 50000) AS n;
INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                          can_have_audio)
SELECT id, 'busy', false, 'The dialler gave the reason', false, false, false, false FROM calls;
"""


def test_a_day_of_years_reads_no_whole_table(engine):
    """What the server means to do: both tables are read by an index, which finds the day or the ids of its calls."""
    plans = []

    def explain(connection, cursor, statement, parameters, context, executemany):
        with connection.connection.driver_connection.cursor() as own:
            plans.append("\n".join(line for (line,) in own.execute(f"EXPLAIN {statement}", parameters)))

    with engine.begin() as connection:
        connection.execute(text(YEARS))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE calls"))
        connection.execute(text("VACUUM ANALYZE dispositions"))
        event.listen(connection, "before_cursor_execute", explain)
        since = datetime.fromisoformat("2025-02-03T00:00:00+00:00")
        [(_, found)] = traffic_by(connection, Selection(since, since + timedelta(days=1)), TrafficBy.DAY, "UTC")
    assert found.attempts in {110, 111}
    assert len(plans) == 2
    assert "dialed_at_idx" in plans[0]  # one of those that begin or end with it
    assert "dispositions_first_pkey" in plans[1]
    assert not [plan for plan in plans if re.search(r"Seq Scan on \w+_first", plan)]  # the next month's are empty
