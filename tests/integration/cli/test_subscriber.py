"""Subscribers as a person adds, tries, pauses and removes them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from tests.factories import make_record
from tests.integration.flow import receive, rows
from tests.warm import warm


@pytest.fixture
def pipeline(settings_env):
    return warm().pipeline


@pytest.fixture
def add(pipeline, servers):
    """Adds one, with what a test changes."""

    def run(name="crm", *more, **changes):
        options = {"sink": "redis-list", "source": "*", "campaign": "sales,service", "kind": "call.received"} | changes
        words = [word for option, value in options.items() for word in (f"--{option}", value) if value is not None]
        return pipeline("subscriber", "add", name, *words, "--set", f"url={servers.broker.url}", *more)

    return run


def test_one_is_added_shown_tried_paused_resumed_and_removed(pipeline, add, crm, engine):
    added = add("crm", "--set", "list=crm:cdrs")
    assert added.returncode == 0, added.stderr
    receive(engine, make_record())
    engine.connect().close()
    shown = json.loads(pipeline("subscriber", "show", "crm", "--json").stdout)
    assert (shown["campaigns"], shown["state"], shown["ordering"]) == (["sales", "service"], "active", "per call")
    assert pipeline("subscriber", "test", "crm").returncode == 0
    assert json.loads(crm.lpop("crm:cdrs"))["type"] == "pipeline.test"
    assert crm.llen("crm:cdrs") == 0
    assert pipeline("subscriber", "pause", "crm", "--because", "their maintenance").returncode == 0
    again = pipeline("subscriber", "pause", "crm")
    assert (again.returncode, again.stderr) == (2, "Error: subscriber crm is paused already\n")
    assert "their maintenance" in pipeline("subscriber", "list").stdout
    assert pipeline("subscriber", "resume", "crm").returncode == 0
    assert pipeline("subscriber", "remove", "crm").returncode == 0
    assert json.loads(pipeline("subscriber", "list", "--json").stdout) == []
    gone = pipeline("subscriber", "show", "crm")
    assert (gone.returncode, gone.stderr) == (2, "Error: there is no subscriber crm: there is none at all\n")


def test_a_secret_is_never_shown(pipeline, add, engine, tmp_path):
    """Neither in a table, nor as JSON, nor in the table that readers read."""
    file = tmp_path / "url"
    file.write_text("redis://:hush-hush-hush@127.0.0.1:1/0\n")
    done = pipeline(
        *("subscriber", "add", "crm", "--sink", "redis-list", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--set", "list=l", "--secret-file", f"url={file}"),
    )
    assert done.returncode == 0, done.stderr
    said = [
        pipeline("subscriber", *words)
        for words in (("show", "crm"), ("show", "crm", "--json"), ("list",), ("list", "--json"), ("test", "crm"))
    ]
    assert not any("hush" in each.stdout + each.stderr for each in said)
    assert said[-1].returncode == 1
    assert json.loads(said[1].stdout)["secrets"] == ["url"]
    assert "hush" not in str(rows(engine, "SELECT * FROM subscribers")) + str(rows(engine, "SELECT * FROM actions"))


def test_a_secret_is_rotated_and_the_cursor_stays(pipeline, engine, tmp_path):
    """From a secret to a private key: the other side is told the public one, and nobody the rest."""
    old, new = "whsec_" + "h" * 43 + "=", "whsk_" + "h" * 43 + "="
    (tmp_path / "old").write_text(old)
    (tmp_path / "both").write_text(f"{new}\n{old}\n")
    (tmp_path / "wrong").write_text("whsk_hush")
    added = pipeline(
        *("subscriber", "add", "shop", "--sink", "webhook", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--set", "url=https://hooks.example/", "--secret-file", f"secret={tmp_path}/old"),
    )
    assert added.returncode == 0, added.stderr
    before = json.loads(pipeline("subscriber", "show", "shop", "--json").stdout)
    assert before["public_keys"] == []
    rotated = pipeline("subscriber", "rotate", "shop", "--secret-file", f"secret={tmp_path}/both")
    assert rotated.returncode == 0, rotated.stderr
    after = json.loads(pipeline("subscriber", "show", "shop", "--json").stdout)
    [key] = after.pop("public_keys")
    assert key.startswith("whpk_")
    assert key in rotated.stdout
    assert key in pipeline("subscriber", "show", "shop").stdout
    assert after.items() <= before.items()
    said = (("wrong", "secret must"), ("nowhere", "cannot read"))
    for file, reason in said:
        wrong = pipeline("subscriber", "rotate", "shop", "--secret-file", f"secret={tmp_path / file}")
        assert (wrong.returncode, reason in wrong.stderr) == (2, True)
    odd = pipeline("subscriber", "rotate", "shop", "--secret-file", f"token={tmp_path}/old")
    assert odd.stderr == "Error: token is no secret of subscriber shop: it has secret\n"
    assert "--secret-file or --secret must be given" in pipeline("subscriber", "rotate", "shop").stderr
    assert rows(engine, "SELECT settings FROM subscriber_secrets") == [({"secret": f"{new}\n{old}"},)]
    told = str(rows(engine, "SELECT * FROM actions")) + rotated.stdout + wrong.stderr
    assert "hhh" not in told
    assert "rotated" in told


@pytest.mark.parametrize(
    ("more", "changes", "said"),
    [
        ((), {}, "list must be the name"),
        (("--set", "list"), {}, "--set must be KEY=VALUE, got 'list' alone"),
        (("--set", "list=l"), {"kind": "call.lost"}, "--kind must be one of call.received"),
        (("--set", "list=l"), {"campaign": None}, "--campaign must be given"),
        (("--set", "list=l"), {"sink": "pigeon"}, "there is no sink 'pigeon'"),
        (("--set", "list=l", "--secret-file", "key=/nowhere"), {}, "cannot read /nowhere"),
        (("--set", "other=redis://:hush-hush@h/0"), {}, "--set other holds a password"),
    ],
    ids=["list", "pair", "kind", "campaign", "sink", "file", "password"],
)
def test_what_is_wrong_is_said_and_nothing_is_half_made(add, engine, more, changes, said):
    done = add("crm", *more, **changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hush" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert rows(engine, "SELECT count(*) FROM subscribers") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM actions") == [(0,)]


def test_the_diallers_own_list_is_no_sink(pipeline, servers):
    done = pipeline(
        *("subscriber", "add", "crm", "--sink", "redis-list", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--set", "list=enigma:notifications:campaigns"),
        *("--set", f"url={servers.dialler_redis.url}"),
    )
    assert done.returncode == 2
    assert "the dialler's own list" in done.stderr


def test_a_name_that_is_taken_is_said(add):
    assert add("crm", "--set", "list=l").returncode == 0
    done = add("crm", "--set", "list=l")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: there is a subscriber crm already: choose another name, or remove it\n",
    )


def test_the_list_ends_with_1_while_one_needs_somebody(pipeline, add, engine):
    add("crm", "--set", "list=l")
    assert pipeline("subscriber", "list").returncode == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscribers SET state = 'expired', hole_from = 1, hole_to = 5"))
    assert pipeline("subscriber", "list").returncode == 1
    refused = pipeline("subscriber", "resume", "crm")
    assert refused.returncode == 2
    assert "positions 1 to 5" in refused.stderr
    resumed = pipeline("subscriber", "resume", "crm", "--skip-hole")
    assert (resumed.returncode, "1 to 5" in resumed.stdout) == (0, True)
