"""``pipeline calls``: found, leafed through, and written for people, spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.lookup import search
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import load, receive, walk

SINCE = ("--since", "2026-09-01")


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline calls ...` in this process."""
    monkeypatch.setattr("pipeline.cli.output.console.width", 250)
    return lambda *arguments: CliRunner().invoke(app, ["calls", *map(str, arguments)])


@pytest.fixture
def called(engine):
    """Three calls of an hour; the one in the middle was busy, and its campaign would be a formula."""
    load(engine)
    walk(
        engine,
        receive(
            engine,
            make_record(call_ref=1, ref="spring", dialed_at=DIALED_AT, contact_ref="a"),
            make_record(call_ref=2, ref="=1+1", dialed_at=DIALED_AT + 60, end_reason="busy", call_time=0),
            make_record(call_ref=3, ref="spring", dialed_at=DIALED_AT + 120, number="0820009999", contact_ref="a"),
        ),
    )


def refs(done):
    """The calls of an answer in JSON."""
    return [call["call_ref"] for call in json.loads(done.stdout)["calls"]]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (SINCE, ["3", "2", "1"]),
        (("--call-ref", "2"), ["2"]),
        (("--contact-ref", "a"), ["3", "1"]),
        (("--number", "082 000 9999"), ["3"]),
        (("--number-ends", "1234"), ["2", "1"]),
        ((*SINCE, "--campaign", "spring"), ["3", "1"]),
        ((*SINCE, "--agent", "2001", "--disposition", "answered"), ["3", "1"]),
        ((*SINCE, "--dial-number", "+27123456789", "--direction", "outbound"), ["3", "2", "1"]),
        ((*SINCE, "--recording", "scheduled", "--charged", "yes"), ["3", "1"]),
        ((*SINCE, "--why-not", "a call that ended as busy is not billed", "--source", "enigma"), ["2"]),
        (("--since", "2026-09-21T16:14:20", "--until", "2026-09-21T16:15:20"), ["2"]),
    ],
)
def test_each_option_narrows(run, called, asked, expected):
    assert refs(run(*asked, "--json")) == expected


def test_json_has_what_is_known_and_where_to_go_on(run, called):
    """Amounts are texts, the key stays inside, and a cursor leads to the rest."""
    answer = json.loads(run(*SINCE, "--limit", 2, "--json").stdout)
    first = answer["calls"][0]
    assert (first["charge"], first["currency"], first["recording"], first["number"]) == (
        *("0.81", "ZAR", "scheduled"),
        "+27820009999",
    )
    assert first["dialed_at"] == "2026-09-21T14:15:20+00:00"
    assert "call_id" not in first
    assert re.match(r"\d{4}-", answer["complete_through"])
    rest = json.loads(run(*SINCE, "--after", answer["after"], "--json").stdout)
    assert ([call["call_ref"] for call in rest["calls"]], rest["after"]) == (["1"], None)


def test_csv_runs_nothing_in_a_spreadsheet_and_says_when_it_is_whole(run, called, monkeypatch):
    """In local time, whatever is on a page; also without a call."""
    monkeypatch.setattr(search, "STREAMED", 1)
    done = run(*SINCE, "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [line["call_ref"] for line in lines] == ["3", "2", "1"]
    assert lines[1]["campaign_ref"] == "'=1+1"
    assert lines[0]["number"] == "'+27820009999"
    assert lines[0]["dialed_at"] == "2026-09-21T16:15:20+02:00"
    assert lines[1]["not_charged"] == "a call that ended as busy is not billed"
    assert done.stderr.startswith("3 calls, complete through ")
    empty = run("--call-ref", "none", "--format", "csv")
    assert (empty.stdout.count("\n"), empty.stderr[:8]) == (1, "0 calls,")


def test_people_get_a_table(run, called):
    done = run(*SINCE, "--limit", 2)
    assert "2026-09-21 16:15:20 SAST" in done.stdout
    assert "a call that ended as busy is not billed" in done.stdout
    assert "0.81 ZAR" in done.stdout
    assert re.search(r"2 calls, complete through .* SAST; more there are with --after \S+", done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("asked", "option", "said"),
    [
        ((), "--since", "is missing"),
        (("--campaign", "c"), "--since", "is missing"),
        (("--number-ends", "12"), "--number-ends", "must be the last 4 to 15 digits"),
        ((*SINCE, "--until", "2026-08-01"), "--until", "must be later than since"),
        ((*SINCE, "--after", "here"), "--after", "must be a cursor"),
        ((*SINCE, "--limit", "1000001"), "--limit", "1000000"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_option(run, engine, asked, option, said):
    done = run(*asked)
    assert done.exit_code == 2
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
    assert option in told
    assert said in told
