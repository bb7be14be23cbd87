"""What a record says reaches no terminal as anything but text, whatever command shows it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.ingest.stops import raise_stop
from pipeline.record_ids import first_record
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings.rules.outcome import Decision, PauseKind, RecordingState
from tests.factories import make_record
from tests.integration.flow import load, receive, walk

HOSTILE = "[/][red]\x1b[2J\x1b]0;x\x07\x9b31m\u202egnp\u2066\u200b\r\n9 fake :smile:"
SHOWN = r"[/][red]\u001b[2J\u001b]0;x\u0007\u009b31m\u202egnp\u2066\u200b\r\n9 fake :smile:"
"""The same, as everybody sees it."""

PEOPLE = [
    ["explain", HOSTILE],
    ["failures", "list"],
    ["failures", "show", "1"],
    ["failures", "show", "2"],
    ["failures", "stats"],
    ["recordings", "list"],
    ["recordings", "missing"],
    ["recordings", "status"],
    ["recordings", "hold", HOSTILE, "--because", HOSTILE],
    ["recordings", "release", HOSTILE],
    ["recordings", "hold", f"{HOSTILE}?"],
    ["recordings", "get", HOSTILE],
    ["recordings", "get", f"{HOSTILE}?"],
    ["explain", f"{HOSTILE}2"],
    ["report", "charges", "--month", "2026-09"],
    ["report", "calls", "--month", "2026-09", "--by", "campaign"],
    ["report", "calls", "--month", "2026-09", "--by", "agent"],
    ["report", "traffic", "--month", "2026-09", "--by", "campaign"],
    ["report", "traffic", "--month", "2026-09", "--by", "agent"],
    ["rerate", "--since", "2026-09-01", "--until", "2026-10-01", "--dry-run"],
    ["stops", "list"],
    ["stops", "release", "--source", HOSTILE],
    ["recordings", "resume", "--source", HOSTILE],
    ["tariff", "list"],
    ["balance"],
]
WITHOUT_JSON = ("hold", "release", "resume", "charges", "get", f"{HOSTILE}2")
SCRIPTS = [[*each, "--json"] for each in PEOPLE if not {*each[1:2]} & {*WITHOUT_JSON}]


@pytest.fixture
def hostile(engine, settings_env, monkeypatch):
    """Calls, failures, recordings, stops and pauses that somebody named to do harm."""
    for each in ("console", "errors"):
        monkeypatch.setattr(f"pipeline.cli.output.{each}.width", 3_000)
    load(engine)
    good = make_record(call_ref=HOSTILE, ref=HOSTILE, contact_ref=HOSTILE, extension=HOSTILE, end_reason="hungup")
    bad = make_record(call_ref=f"{HOSTILE}2", ref=HOSTILE, call_dir=HOSTILE)
    walk(engine, receive(engine, good, bad))
    walk(engine, receive(engine, make_record(call_ref=7, ref=HOSTILE, number="+4420"), source=HOSTILE))
    with engine.begin() as connection:
        raise_stop(connection, HOSTILE, "fuse", HOSTILE)
        decision = Decision(RecordingState.SCHEDULED, HOSTILE, 0, 60, 60, PauseKind.REFUSED)
        recording_pauses.begin(connection, HOSTILE, decision, call_id=first_record(1))
        connection.execute(
            text("UPDATE recordings SET reason = :said, state = 'failed', due_at = NULL, ended_at = now()"),
            {"said": HOSTILE},
        )
        connection.execute(
            text("UPDATE failures SET traceback = :said, field = :said WHERE id = 1"), {"said": f"one\n{HOSTILE[:-16]}"}
        )


def run(*arguments):
    """A command's output and complaints; a bug of it fails the test."""
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


@pytest.mark.parametrize(("terminal", "width"), [(True, 3_000), (True, 60), (False, 3_000)])
def test_a_person_sees_text(hostile, monkeypatch, terminal, width):
    """No command is ended, no character acts, no line is made up; the tabs a pipe gets are between cells alone."""
    monkeypatch.setattr("pipeline.cli.output.console.width", width)
    monkeypatch.setattr("pipeline.cli.output.console._force_terminal", terminal)
    monkeypatch.setattr("pipeline.cli.output.console._color_system", None)
    for command in PEOPLE:
        output = run(*command)
        if not terminal:
            output = output.replace("\t", "")  # between the cells
        shown = output if width == 3_000 else "".join(output.split())
        assert output, command
        for line in output.split("\n"):
            assert line.isprintable(), (command, line)
            assert width == 60 or not line.lstrip().startswith("9 fake"), (command, output)
        assert SHOWN[:60] in shown or "[/]" not in output, (command, output)


def test_a_script_reads_the_same_json_without_a_character_that_acts(hostile):
    """What a terminal would obey is escaped, and read back as what it was."""
    for command in SCRIPTS:
        output = run(*command)
        assert output.replace("\n", "").isprintable(), command
        json.loads(output)


def test_as_many_kinds_as_failures_are_not_all_printed(hostile, engine):
    """A record names the field that is wrong with it: 25,000 different ones made four megabytes."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO failures (record_id, step, class, state, source, field, reason, attempts, "
                "  first_failed_at, last_failed_at) "
                "SELECT 10000000 + n, 'normalize', 'data', 'open', 'enigma', 'payload.' || repeat('x', 150) || n, "
                "  'bad', 1, now(), now() FROM generate_series(1, 25000) AS n"
            )
        )
    said = run("failures", "stats")
    assert len(said) < 100_000
    assert "50 of 25,002 kinds shown." in said
    assert len(json.loads(run("failures", "stats", "--json"))) == 50
    assert len(json.loads(run("failures", "stats", "--json", "--limit", "60"))) == 60


def test_what_is_read_back_is_what_was_sent(hostile):
    """Escapes are JSON's own."""
    (found, _) = json.loads(run("failures", "list", "--json"))
    assert found["call_ref"] == f"{HOSTILE}2"
