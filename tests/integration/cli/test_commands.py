"""Commands as a person types them, each a process of its own, on a real database."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from tests.factories import make_record
from tests.integration.flow import load, receive, walk, walk_overdue
from tests.warm import warm


@pytest.fixture
def pipeline(settings_env):
    """Runs a command; its exit code, output and errors."""
    return warm().pipeline


def test_an_unknown_call_is_one_clear_line(pipeline):
    """Exit code 1, one line, no traceback."""
    done = pipeline("explain", "4711")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: no call has the reference 4711\n")


def test_a_quarantined_call_is_pointed_at(pipeline, engine):
    """Whoever asks for a call whose record was refused is told where it is."""
    walk(engine, receive(engine, make_record(call_ref=4711, call_time=-1)))
    done = pipeline("explain", "4711")
    assert done.returncode == 1
    assert "pipeline failures list --call-ref 4711" in done.stderr


def test_a_broken_record_is_mended_by_hand(pipeline, engine, tmp_path):
    """List, show, edit from standard input, and the call has its charge."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=4711, call_time=-61)))
    (failure,) = json.loads(pipeline("failures", "list", "--json").stdout)
    assert failure["reason"] == "payload.call_time: must not be negative, got -61"
    shown = pipeline("failures", "show", str(failure["id"]))
    assert '"call_time": -61' in shown.stdout
    refused = pipeline("failures", "edit", str(failure["id"]), "--file", "-", stdin="{}")
    assert (refused.returncode, refused.stderr) == (1, "Error: type: must be 'cdr', is missing\n")
    mended = pipeline("failures", "edit", str(failure["id"]), "--file", "-", stdin=make_record(call_ref=4711).decode())
    assert mended.returncode == 0, mended.stderr
    walk_overdue(engine)
    explained = json.loads(pipeline("explain", "4711", "--json").stdout)
    assert [line["amount"] for line in explained["charges"]] == ["0.81"]
    assert any(event["event"] == "edit" for event in explained["history"])


def test_a_failure_is_shown_to_scripts_with_all_that_is_known_of_it(pipeline, engine):
    """The names and their order are what scripts were written against."""
    bad, good = make_record(call_ref=4711, call_time=-61), make_record(call_ref=4711)
    walk(engine, receive(engine, bad))
    (listed,) = json.loads(pipeline("failures", "list", "--json").stdout)
    pipeline("failures", "edit", str(listed["id"]), "--file", "-", "--who", "thandi", stdin=good.decode())
    shown = json.loads(pipeline("failures", "show", str(listed["id"]), "--json").stdout)
    assert " ".join(shown) == (
        "id record_id class step state source call_ref campaign_ref field reason attempts first_failed_at "
        "last_failed_at retry_at subscriber error_type traceback received_at raw edited stored delivery actions text"
    )
    assert list(listed) == list(shown)[: len(listed)]
    assert (shown["class"], shown["raw"], json.loads(shown["edited"])) == ("data", bad.hex(), json.loads(good))
    (action,) = shown["actions"]
    assert " ".join(action) == "at who action detail"
    assert (action["who"], action["action"]) == ("thandi", "edit")


def test_failures_are_discarded_and_counted(pipeline, engine):
    """Exit codes say whether anything was done."""
    walk(engine, receive(engine, b"rubbish"))
    assert pipeline("failures", "discard", "--because", "a test").returncode == 2
    assert pipeline("failures", "discard", "--all", "--because", "a test").returncode == 0
    assert pipeline("failures", "discard", "--all", "--because", "a test").returncode == 1
    assert json.loads(pipeline("balance", "--json").stdout)["discarded"] == {"records": 1}
    assert pipeline("failures", "list", "--class", "nonsense").returncode == 2


def test_what_was_discarded_is_restored(pipeline, engine):
    """By id or all that match, once."""
    walk(engine, receive(engine, b"rubbish"))
    pipeline("failures", "discard", "--all", "--because", "a test")
    assert pipeline("failures", "restore").returncode == 2
    assert pipeline("failures", "restore", "--all", "--reason", "no such").returncode == 1
    done = pipeline("failures", "restore", "--all", "--reason", "not JSON", "--because", "it was none")
    assert (done.returncode, done.stdout) == (0, "1 restored.\n")
    assert json.loads(pipeline("balance", "--json").stdout)["quarantined"] == {"records": 1}


def test_a_balance_that_does_not_close_says_so(pipeline, engine):
    """Exit code 1 and the offending ids, in both formats."""
    load(engine)
    batch = receive(engine, make_record(), make_record())
    walk(engine, batch)
    assert pipeline("balance").returncode == 0
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM dispositions WHERE call_id % 2 = 1"))
    done = pipeline("balance", "--json")
    assert done.returncode == 1
    sheet = json.loads(done.stdout)
    assert sheet["closes"] is False
    assert [batch.batch_id * 65_536 + 1] in [violation["ids"] for violation in sheet["violations"]]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "mysql://x", "DATABASE_URL: must look like postgresql+psycopg://"),
        ("PIPELINE_REGION", "Mars", "PIPELINE_REGION: must be a two-letter region"),
        ("ENIGMA_POP_END", "middle", "ENIGMA_POP_END"),
        ("RECORDINGS_URL", "/srv/recordings", "RECORDINGS_URL: must be a URL such as file:///srv/recordings"),
    ],
)
def test_a_bad_setting_is_named(pipeline, monkeypatch, name, value, said):
    """The process ends with the setting's name and the reason, never with a traceback."""
    monkeypatch.setenv(name, value)
    done = pipeline("balance")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_accepting_one_of_many_conflicts_asks_again(pipeline, engine):
    """A dialler that counts from 1 again makes many; whoever accepts them one after the other overwrites old calls."""
    load(engine)
    walk(engine, receive(engine, *(make_record(call_ref=number) for number in range(11))))
    walk(engine, receive(engine, *(make_record(call_ref=number, call_time=600) for number in range(11))))
    first, second, *_ = [str(row["id"]) for row in json.loads(pipeline("failures", "list", "--json").stdout)]
    for answer in ("", "n\n"):
        refused = pipeline("failures", "accept", first, stdin=answer)
        assert refused.returncode == 1
        assert "11 conflicts of enigma wait" in refused.stderr
        assert "ENIGMA_SOURCE" in refused.stderr
    assert pipeline("failures", "accept", first, stdin="y\n").returncode == 0
    done = pipeline("failures", "accept", second)
    assert (done.returncode, done.stderr) == (0, ""), "ten may be corrections"


def test_a_batch_that_stands_still_is_listed_and_sent_again(pipeline, engine):
    """What waits is told as the balance counts it; exit code 1 while a batch stands, and for one that there is not."""
    load(engine)
    batch = receive(engine, make_record(), make_record(), b"rubbish")
    walk(engine, batch, (Step.NORMALIZE,))
    listed = pipeline("batches", "list")
    assert (listed.returncode, listed.stdout.splitlines()[0]) == (0, "2 records wait.")
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET resends = 3, due_at = now() + interval '1 hour'"))
    listed = pipeline("batches", "list", "--json")
    found = json.loads(listed.stdout)
    assert listed.returncode == 1
    assert (found["waiting"], [step["step"] for step in found["steps"]]) == (2, ["classify"])
    assert [(each["batch_id"], each["records"], each["step"]) for each in found["standing"]] == [
        (batch.batch_id, 3, "classify")
    ]
    assert "Batches that stand still" in pipeline("batches", "list").stdout
    assert pipeline("batches", "list", "--source", "north").stdout == "0 records wait.\n"
    sent = pipeline("batches", "send", str(batch.batch_id), "--who", "ann")
    assert sent.returncode == 0, sent.stderr
    assert walk_overdue(engine) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT who, action FROM actions")).all() == [("ann", "batch sent again")]
    again = pipeline("batches", "send", str(batch.batch_id))
    assert (again.returncode, again.stderr.splitlines()[0]) == (
        1,
        f"Error: there is no unfinished batch {batch.batch_id}",
    )


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--since", "2026-12-01", "--until", "2026-11-01"), 2, "must be later than --since"),
        (("--since", "2026-12-01", "--until", "2026-12-01"), 2, "must be later than --since"),
        (("--source", "enigmaa"), 1, "nothing was ever received from a dialler enigmaa: there is enigma"),
    ],
)
def test_a_balance_of_nothing_is_no_proof(pipeline, engine, options, code, said):
    """A typing error in a cron job would else close for ever."""
    receive(engine, make_record())
    done = pipeline("balance", *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_reason_of_blanks_is_none(pipeline, engine):
    walk(engine, receive(engine, b"rubbish"))
    done = pipeline("failures", "discard", "1", "--because", " ")
    assert done.returncode == 2
    assert "say why" in done.stderr


def test_what_is_wrong_with_a_command_line_is_said_in_words(pipeline):
    assert "must be a whole number" in pipeline("failures", "show", "x").stderr
    assert "Value error" not in pipeline("failures", "list", "--class", "x").stderr


def test_a_balance_of_one_dialler_closes(pipeline, engine):
    receive(engine, make_record())
    done = pipeline("balance", "--source", "enigma", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["received"]["records"] == 1
