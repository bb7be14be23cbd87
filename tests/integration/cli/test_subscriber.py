"""Subscribers as a person adds, tries, pauses and removes them."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from pipeline.feed.deliver import deliver
from pipeline.feed.replays import take_replay
from pipeline.feed.retention import drop_old
from pipeline.feed.sequence import place
from pipeline.feed.sinks import open_sink
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


@pytest.fixture
def fed(add, engine):
    """One that had something, two days ago and now."""
    assert add("crm", "--set", "list=crm:cdrs", campaign="*").returncode == 0
    for _ in range(2):
        receive(engine, make_record(), make_record())
    place(engine)
    assert deliver(engine, "crm", open_sink=open_sink, seconds=5).delivered == 4
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = now() - interval '2 days' WHERE position = 1"))


def test_a_replay_is_begun_shown_and_cancelled(pipeline, fed, engine):
    began = pipeline("subscriber", "replay", "crm", "--since", "2020-01-01", "--rate", "7", "--because", "lost a disk")
    assert (began.returncode, began.stderr) == (0, "")
    assert "4 events to go through for crm, at most 7 a second." in began.stdout
    again = pipeline("subscriber", "replay", "crm", "--since", "2020-01-01")
    assert again.returncode == 2
    assert "is being replayed to already" in again.stderr
    deliver(engine, "crm", open_sink=open_sink, seconds=5, take=take_replay)
    [shown] = json.loads(pipeline("subscriber", "show", "crm", "--json").stdout)["replays"]
    assert (shown["delivered"], shown["events"], shown["rate"]) == (4, 4, 7)
    assert "4 of 4 events, 100 %" in " ".join(pipeline("subscriber", "show", "crm").stdout.split())
    nothing = pipeline("subscriber", "replay", "crm", "--cancel")
    assert (nothing.returncode, nothing.stderr) == (2, "Error: nothing is being replayed to subscriber crm\n")
    assert pipeline("subscriber", "replay", "crm", "--since", "2020-01-01").returncode == 0
    [listed] = json.loads(pipeline("subscriber", "list", "--json").stdout)
    assert (listed["replay"]["state"], listed["replay"]["share"]) == ("active", 0.0)
    assert "0 %" in pipeline("subscriber", "list").stdout
    cancelled = pipeline("subscriber", "replay", "crm", "--cancel", "--because", "found it")
    assert (cancelled.returncode, cancelled.stdout) == (
        0,
        "The replay to crm is cancelled: 0 of 4 events, 0 %, 0 delivered.\n",
    )
    [listed] = json.loads(pipeline("subscriber", "list", "--json").stdout)
    assert listed["replay"] is None
    said = rows(engine, "SELECT detail ->> 'reason' FROM actions WHERE action LIKE '%replay%' ORDER BY id")
    assert [reason for (reason,) in said] == ["lost a disk", None, "found it"]


def test_times_of_a_replay_are_of_the_pipelines_zone(pipeline, fed, engine):
    """Johannesburg is two hours ahead; what happened two days ago is not of since yesterday."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = '2026-03-01 22:30:00+00' WHERE position = 1"))
    missed = pipeline("subscriber", "replay", "crm", "--since", "2026-03-01", "--until", "2026-03-02 00:30")
    assert missed.returncode == 2
    assert "nothing that subscriber crm has had happened in that time" in missed.stderr
    begun = pipeline("subscriber", "replay", "crm", "--since", "2026-03-02", "--until", "2026-03-02 00:31", "--json")
    assert begun.returncode == 0, begun.stderr
    told = json.loads(begun.stdout)
    assert (told["events"], told["since"]) == (2, "2026-03-01T22:00:00+00:00")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--since must be given"),
        (("--cancel", "--since", "2026-03-01"), "--cancel ends the replay that is under way: it takes no time"),
        (("--since", "2026-03-02", "--until", "2026-03-01"), "--until must be later than --since"),
        (("--since", "2099-03-02"), "nothing that subscriber crm has had happened in that time"),
    ],
    ids=["since", "cancel", "until", "future"],
)
def test_a_replay_that_cannot_be_is_said(pipeline, fed, engine, words, said):
    done = pipeline("subscriber", "replay", "crm", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert rows(engine, "SELECT count(*) FROM replays") == [(0,)]


def test_what_the_feed_no_longer_holds_is_said_with_the_way_on(pipeline, fed, engine):
    with engine.begin() as connection:
        connection.execute(text("UPDATE feed SET at = now() - interval '31 days' WHERE position = 1"))
    assert drop_old(engine, days=30) == 1
    refused = pipeline("subscriber", "replay", "crm", "--since", "2020-01-01")
    assert refused.returncode == 2
    assert "the feed no longer holds all of that time: it holds what happened since 20" in refused.stderr
    assert "SAST" in refused.stderr
    left = pipeline("subscriber", "replay", "crm", "--since", "2020-01-01", "--from-what-is-left")
    assert "2 events to go through" in left.stdout


def test_whoever_replays_a_stream_is_told_where_to_read(pipeline, servers, engine):
    added = pipeline(
        *("subscriber", "add", "crm", "--sink", "redis-stream", "--source", "*", "--campaign", "*"),
        *("--kind", "call.received", "--set", "stream=crm", "--set", f"url={servers.broker.url}"),
    )
    assert added.returncode == 0, added.stderr
    receive(engine, make_record())
    place(engine)
    deliver(engine, "crm", open_sink=open_sink, seconds=5)
    begun = pipeline("subscriber", "replay", "crm", "--since", "2020-01-01")
    [(replay,)] = rows(engine, "SELECT id FROM replays")
    assert f"They go to stream {{crm}}:feed:replay:{replay}, for its stream takes no id that it had." in begun.stdout
