"""Attempts, answers and talk: each call is counted once, whatever it is counted by."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from pipeline.batches.rules.steps import Step
from pipeline.cli import app
from pipeline.lookup.calls_report import CallsEntry, total
from tests.factories import make_record
from tests.integration.flow import receive, walk


def at(local):
    return int(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Africa/Johannesburg")).timestamp())


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline report calls ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 200)
    return lambda *arguments: CliRunner().invoke(app, ["report", "calls", *map(str, arguments)])


@pytest.fixture
def called(engine):
    """Calls on both sides of local midnight, of two campaigns, two agents and two diallers."""
    late, early = at("2026-09-10T23:59:59"), at("2026-09-11T00:00:00")
    walk(
        engine,
        receive(
            engine,
            make_record(ref="spring", extension="2001", dialed_at=late, call_time=60),
            make_record(ref="spring", extension="2002", dialed_at=early, call_time=3_540),
            make_record(ref="=spring", extension=None, dialed_at=early, call_time=0, end_reason="busy", end_code="17"),
        ),
    )
    walk(
        engine,
        receive(engine, make_record(ref="spring", dialed_at=early, call_time=0, end_reason="noanswer"), source="south"),
    )
    unclassified = make_record(ref="spring", dialed_at=at("2026-09-12T08:00:00"), call_dir="inbound", call_time=5)
    walk(engine, receive(engine, unclassified), steps=(Step.NORMALIZE,))


def counted(run, *arguments, by="day"):
    answer = json.loads(run("--month", "2026-09", "--by", by, *arguments, "--json").stdout)
    return {each[by]: (each["attempts"], each["answered"], each["talk_seconds"]) for each in answer["calls"]}


def test_days_are_those_of_the_zone(run, called):
    """A second before midnight is the day before; what is not classified yet is counted, too."""
    assert counted(run) == {"2026-09-10": (1, 1, 60), "2026-09-11": (3, 1, 3_540), "2026-09-12": (1, 0, 5)}


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("campaign", {"=spring": (1, 0, 0), "spring": (4, 2, 3_605)}),
        ("agent", {"": (1, 0, 0), "2001": (3, 1, 65), "2002": (1, 1, 3_540)}),
        ("disposition", {"": (1, 0, 5), "answered": (2, 2, 3_600), "busy": (1, 0, 0), "no_answer": (1, 0, 0)}),
    ],
)
def test_by_the_others(run, called, by, groups):
    """Every call is in one group."""
    assert counted(run, by=by) == groups


def test_what_is_chosen(run, called):
    """One dialler, one campaign, one direction, or a window, which may begin within a day."""
    assert counted(run, "--source", "south") == {"2026-09-11": (1, 0, 0)}
    assert counted(run, "--campaign", "=spring") == {"2026-09-11": (1, 0, 0)}
    assert counted(run, "--direction", "inbound") == {"2026-09-12": (1, 0, 5)}
    window = json.loads(run("--since", "2026-09-10T23:59:59", "--until", "2026-09-11", "--json").stdout)
    assert window["total"] == {
        "attempts": 1, "answered": 1, "answer_rate": "1.0000", "talk_seconds": 60, "talk_hours": "0.02",
    }  # fmt: skip
    assert json.loads(run("--since", "2026-09-12", "--json").stdout)["total"]["attempts"] == 1


def test_csv_runs_nothing(run, called):
    """Figures without separators, and a name that could be a formula behind an apostrophe."""
    lines = list(csv.reader(io.StringIO(run("--month", "2026-09", "--by", "campaign", "--format", "csv").stdout)))
    assert lines == [
        ["campaign", "attempts", "answered", "answer_rate", "talk_seconds", "talk_hours"],
        ["'=spring", "1", "0", "0.0000", "0", "0.00"],
        ["spring", "4", "2", "0.5000", "3605", "1.00"],
    ]


def test_table(run, called):
    """People get percent, names for what has none, and the sum."""
    lines = [line.split() for line in run("--month", "2026-09", "--by", "disposition").output.splitlines()]
    assert lines[0] == ["disposition", "attempts", "answered", "answer", "rate", "talk", "seconds", "talk", "hours"]
    assert lines[1][:3] == ["(not", "classified", "yet)"]
    assert lines[-1][:2] == ["Complete", "through"]
    assert lines[-2] == ["all", "5", "2", "40.0", "%", "3605", "1.00"]
    assert "No call was dialled then." in run("--month", "2020-01").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say --month, or --since"),
        (("--month", "2026-09", "--since", "2026-09-01"), "say --month, or --since"),
        (("--month", "2026-09", "--until", "2026-09-01"), "say --month, or --since"),
        (("--month", "September"), "must be a month"),
        (("--since", "yesterday"), "must be a date or a time"),
        (("--since", "2026-09-02", "--until", "2026-09-01"), "must be later than --since"),
    ],
)
def test_no_window(run, arguments, said):
    """What is no window is refused."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_rates_and_hours_are_rounded_and_never_divided_by_nothing():
    """A third is 0.3333; of no call there is no rate."""
    assert CallsEntry("", 3, 1, 5_400).answer_rate == Decimal("0.3333")
    assert CallsEntry("", 3, 1, 5_400).talk_hours == Decimal("1.50")
    assert total([]).answer_rate is None
