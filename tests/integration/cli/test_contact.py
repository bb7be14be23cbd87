"""What `pipeline contact` and `pipeline explain --contact` say."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from tests.factories import DIALED_AT, make_record
from tests.integration.contact_rows import ENDS
from tests.integration.flow import load, receive, walk


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline ...` in this process."""
    for each in ("console", "errors"):
        monkeypatch.setattr(f"pipeline.cli.output.{each}.width", 300)
    return lambda *words: CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture
def reached(engine):
    """A contact whose second number answered, and who called back."""
    load(engine)
    walk(
        engine,
        receive(
            engine,
            make_record(call_ref=1, contact_ref="a", number="0820000001", **ENDS["no_answer"]),
            make_record(call_ref=2, contact_ref="a", number="0820000002", dialed_at=DIALED_AT + 60, **ENDS["answered"]),
            make_record(call_ref=3, contact_ref=None, call_dir="inbound", number="0820000001", **ENDS["answered"]),
            make_record(call_ref=4, contact_ref="a", ref="autumn", **ENDS["busy"]),
        ),
    )


def test_a_contact_is_shown_with_its_numbers(run, reached):
    said = run("contact", "a", "--campaign", "campaign001")
    assert said.exit_code == 0
    lines = [line.split("\t") for line in said.stdout.splitlines()]
    assert ["outcome", "answered, final"] in lines
    assert ["why", "call 2: answered ranks above no_answer"] in lines
    assert ["attempts", "2"] in lines
    assert ["reached", "2026-09-21 16:14:20 SAST"] in lines
    assert ["charges", "0.81 ZAR"] in lines
    assert ["note", "the same reference is used in autumn: it ought to be of one campaign"] in lines
    assert ["+27820000001", "no_answer", "1", "2026-09-21 16:13:20 SAST"] in lines
    assert len(run("contact", "a").stdout.split("Contact a of ")) == 3


def test_it_is_json_for_scripts(run, reached):
    [autumn, found] = json.loads(run("contact", "a", "--json").stdout)
    assert (autumn["campaign_ref"], autumn["outcome"], autumn["also_in"]) == ("autumn", "busy", ["campaign001"])
    assert (found["outcome"], found["final"], found["attempts"], found["best_call"]) == ("answered", True, 2, "2")
    assert [(each["number"], each["outcome"]) for each in found["numbers"]] == [
        ("+27820000002", "answered"),
        ("+27820000001", "no_answer"),
    ]
    assert (found["charges"], found["agent"], found["talk_seconds"]) == ({"ZAR": "0.81"}, "2001", 61)
    assert "calls" not in found


def test_it_is_explained_by_its_calls(run, reached):
    said = run("explain", "--contact", "a").stdout
    assert "2\t2026-09-21 16:14:20 SAST\t+27820000002\t2001\t0.81 ZAR\tanswered: The agent" in said
    assert "3\t2026-09-21 16:13:20 SAST\tinferred\t2001\tanswered" in said
    found = json.loads(run("explain", "--contact", "a", "--json").stdout)[1]
    assert [each["call_ref"] for each in found["calls"]] == ["1", "2"]
    assert [(each["call_ref"], each["linked"]) for each in found["inbound"]] == [("3", "inferred")]


def test_who_is_not_there_is_said(run, reached):
    for words in (("contact", "nobody"), ("explain", "--contact", "nobody"), ("contact", "a", "--source", "other")):
        said = run(*words)
        assert said.exit_code == 1
        assert "no call names the contact" in said.stderr
    assert run("explain").exit_code == 2
    assert run("explain", "1", "--contact", "a").exit_code == 2
