"""What `pipeline explain` says of a call: the outcome first, then what led to it; or what else it is."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.failures import operator
from pipeline.lookup import no_such_call
from tests.factories import DIALED_AT, make_record
from tests.integration.flow import load, receive, rows, walk, walk_overdue

DIALLED = "2026-09-21 16:13:20"
"""In Johannesburg."""


@pytest.fixture
def run(settings_env, monkeypatch):
    """Runs `pipeline explain ...` in this process."""
    for each in ("console", "errors"):
        monkeypatch.setattr(f"pipeline.cli.output.{each}.width", 300)
    return lambda *arguments: CliRunner().invoke(app, ["explain", *map(str, arguments)], catch_exceptions=False)


def part(output, title):
    """A part of what is shown, as its labels and texts."""
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?:\n\n|\Z)", output, re.MULTILINE | re.DOTALL)
    assert found, f"no {title!r} in {output}"
    return dict(re.findall(r"^(.+?)(?:\t|  +)(.*?) *$", found[1], re.MULTILINE))


class TestOutcome:
    def test_it_comes_first(self, run, engine):
        """What the call costs and how it ended, before anything else; no column of ours, and no word of Python's."""
        load(engine)
        walk(engine, receive(engine, make_record(call_ref=4711)))
        said = run(4711).stdout
        assert said.lstrip("\n").startswith("Call 4711 of enigma\n")
        outcome = part(said, "Call 4711 of enigma")
        assert outcome["charge"] == "0.81 ZAR"
        assert outcome["ended"].startswith("answered: ")
        assert outcome["recording"].startswith("not here yet")
        assert list(outcome) == ["charge", "ended", "recording"]
        for word in ("True", "False", "None", "is_e164", "_original", "url_sent", "version_id", "rerate_id", "suspect"):
            assert word not in said
        details = part(said, "The call")
        assert details["dialled"] == f"{DIALLED} SAST"
        assert details["number called"] == "+27820001234 (sent as 0820001234)"
        assert details["talk"] == "61 s"

    def test_it_says_where_its_page_is(self, run, engine, monkeypatch):
        """Where a setting says how people reach Flower; a reference that is no part of an address is written as one."""
        monkeypatch.setenv("PIPELINE_FLOWER_URL", "https://flower.example/cdr/")
        walk(engine, receive(engine, make_record(call_ref="47/11 x")))
        page = part(run("47/11 x").stdout, "Call 47/11 x of enigma")["page"]
        assert page == "https://flower.example/cdr/calls/enigma/47%2F11%20x"

    def test_a_corrected_charge_is_the_net_one(self, run, engine):
        """Charge, reversal and new charge come to what is in force, and each has its line."""
        load(engine)
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=60)))
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=120)))
        accept(engine)
        said = run(4711).stdout
        assert part(said, "Call 4711 of enigma")["charge"] == "1.40 ZAR (charged 0.80, taken back 0.80, charged 1.40)"
        lines = part(said, "Charges")
        assert list(lines) == ["charge 1", "reversal 1", "charge 2"]
        assert lines["charge 2"].startswith("1.40 ZAR for 120 s at 0.60 a minute and 0.20 to connect")
        assert json.loads(run(4711, "--json").stdout)["net"] == {"ZAR": "1.40"}

    def test_a_call_that_costs_nothing_says_why(self, run, engine):
        """The reason stands in the place of the amount."""
        load(engine)
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=0, end_reason="busy", end_code="17")))
        outcome = part(run(4711).stdout, "Call 4711 of enigma")
        assert outcome["charge"].startswith("nothing: ")
        assert outcome["ended"].startswith("busy: ")
        assert outcome["recording"] == "none: a call that ended as busy has no recording"

    def test_a_call_that_waits_names_its_failure(self, run, engine):
        """What it waits for, and the command that shows it."""
        walk(engine, receive(engine, make_record(call_ref=4711)))
        outcome = part(run(4711).stdout, "Call 4711 of enigma")
        (failure,) = rows(engine, "SELECT id FROM failures")
        assert outcome["charge"] == "not yet"
        assert outcome["set aside"].startswith("bill, reference: ")
        assert outcome["set aside"].endswith(f"pipeline failures show {failure.id}")


class TestReplaced:
    @pytest.fixture
    def replaced(self, engine):
        """A call whose record came again with other content, which a person accepted."""
        load(engine)
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=60)))
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=120, dialed_at=DIALED_AT + 60)))
        accept(engine)

    def test_the_version_before_and_what_happened_to_it(self, run, replaced):
        """Received, normalized and charged, then the record that came, its conflict and who accepted it, in order."""
        said = run(4711).stdout
        told = part(said, "Replaced versions")
        assert list(told) == ["version 1"]
        assert told["version 1"].startswith("until ")
        assert "dialled 2026-09-21 16:13:20 SAST → 2026-09-21 16:14:20 SAST, talk 60 s → 120 s" in told["version 1"]
        history = json.loads(run(4711, "--json").stdout)["history"]
        assert [each["event"] for each in history if not each["event"].startswith("recording")] == [
            "received", "normalized", "charged", "received", "normalize failed", "replaced", "accept", "reversed",
            "classified", "charged",
        ]  # fmt: skip

    def test_scripts_get_the_versions(self, run, replaced):
        """As the call was, by whom it was replaced and by which record."""
        said = json.loads(run(4711, "--json").stdout)
        (version,) = said["versions"]
        assert (version["call"]["talk_seconds"], said["call"]["talk_seconds"]) == (60, 120)
        assert version["call"]["dialed_at"] == "2026-09-21T14:13:20+00:00"
        assert version["accepted_by"] == "ann"
        assert [each["class"] for each in said["failures"]] == ["conflict"]

    def test_an_open_conflict_is_named(self, run, engine):
        """A record that says something else of the call waits for a person: the call's own outcome says so."""
        load(engine)
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=60)))
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=120)))
        assert "conflict" in part(run(4711).stdout, "Call 4711 of enigma")["set aside"]


class TestNoSuchCall:
    def test_a_quarantined_record_is_named(self, run, engine):
        """Its failure, the reason, and how to look at it, also when it was given up."""
        walk(engine, receive(engine, make_record(call_ref=4711, call_time=-1)))
        (failure,) = rows(engine, "SELECT id FROM failures")
        done = run(4711)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "no call has the reference 4711" in done.stderr
        assert f"failure {failure.id}, data, open: payload.call_time: must not be negative, got -1" in done.stderr
        assert f"pipeline failures show {failure.id}" in done.stderr
        list(operator.discard(engine, operator.FailureFilter(), who="ann", reason="a test"))
        assert "data, discarded" in run(4711).stderr

    def test_a_contact_is_no_call(self, run, engine):
        """A contact_ref given by mistake says so, and which calls have it, the newest first."""
        calls = [
            make_record(call_ref=number, contact_ref="account_7", dialed_at=DIALED_AT + number) for number in range(8)
        ]
        walk(engine, receive(engine, *calls))
        done = run("account_7")
        assert done.exit_code == 1
        assert "no call has the reference account_7; it is a contact_ref" in done.stderr
        assert "7, 6, 5, 4, 3 and others" in done.stderr
        assert "pipeline explain --contact account_7" in done.stderr
        assert run("account_7", "--source", "south").stderr == "Error: no call of south has the reference account_7\n"

    def test_looking_for_a_contact_takes_no_longer_than_it_may(self, engine, monkeypatch):
        """After a while nobody looks any further, and the command ends as it would have."""
        monkeypatch.setattr(no_such_call, "LOOKED_FOR_SECONDS", 0.1)
        with engine.begin() as other, engine.connect() as connection:
            other.execute(text("LOCK TABLE calls"))
            assert no_such_call.calls_of_contact(connection, "account_7", None) == []

    def test_another_dialler_has_it(self, run, engine):
        """The source that was named has none, and one that does is said."""
        walk(engine, receive(engine, make_record(call_ref=4711)))
        done = run(4711, "--source", "south")
        assert "no call of south has the reference 4711" in done.stderr
        assert "enigma has one" in done.stderr


def accept(engine):
    """Accept the conflict that waits, and let its call go on."""
    (failure,) = rows(engine, "SELECT id FROM failures WHERE class = 'conflict' AND state = 'open'")
    operator.accept(engine, failure.id, who="ann")
    walk_overdue(engine)
