"""The tasks of the feed, in a process that serves nothing else and in one that does: who rests while calls wait."""

from __future__ import annotations

import json
import os

import pytest
from sqlalchemy import text

from pipeline.feed.deliver import MOST_EVENTS
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.rules.filter import Filter
from pipeline.feed.sequence import place
from pipeline.feed.subscribers import NewSubscriber, add
from tests.factories import make_record
from tests.integration.flow import receive
from tests.warm import warm

pytestmark = pytest.mark.usefixtures("settings_env")

BATCHES, RECORDS = 3, 2_000

DELIVER = """
import json, os, sys
import redis
from pipeline.celery import app
from pipeline.tasks import feed
from pipeline.worker.giving_way import give_way_by_queues
from pipeline.worker.share import Share
queues, seconds = json.loads(sys.argv[1])
give_way_by_queues({"queues": queues})
feed.DELIVER_SECONDS = seconds
worked = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])
feed._SHARE = Share(1e-3, feed._calls_come_first, worked=lambda: worked.llen("crm"))
print(json.dumps([feed.deliver("one") for _ in range(2)]))
"""


@pytest.fixture
def backlog(engine, servers, broker):
    """Many records that wait for their steps, and a list that gets each of them."""
    assert broker.dbsize() == 0
    settings = {"url": servers.broker.url, "list": "crm"}
    wanted = Filter(("*",), ("*",), (RECEIVED,))
    with engine.begin() as connection:
        new = NewSubscriber("one", "redis-list", settings, {}, wanted, "raw", "none")
        add(connection, new, who="test", from_start=True)
    for batch in range(BATCHES):
        receive(engine, *(make_record(call_ref=f"{batch}.{nth}") for nth in range(RECORDS)))
    place(engine)


def deliver(queues: list[str], *, seconds: float) -> list[str]:
    """What came of delivering twice."""
    done = warm().python(DELIVER, json.dumps([queues, seconds]), env=os.environ)
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout.splitlines()[-1])
    return said


ALL_AT_ONCE = [
    f"up to date: {BATCHES * RECORDS} events delivered, 0 refused",
    "nothing to do: nothing waits, or another one delivers it",
]


@pytest.mark.usefixtures("backlog")
def test_while_a_backlog_is_deep_a_feed_process_rests_for_what_it_worked():
    """Each event is a second of work here: it rests for days behind one part, whatever tasks begin meanwhile."""
    assert deliver(["feed"], seconds=1) == [
        f"goes on: {MOST_EVENTS} events delivered, 0 refused",
        "goes on: 0 events delivered, 0 refused",
    ]


@pytest.mark.usefixtures("backlog")
def test_a_process_that_serves_the_steps_as_well_never_rests():
    """Calls would wait for it."""
    assert deliver(["feed", "steps"], seconds=60) == ALL_AT_ONCE


@pytest.mark.usefixtures("backlog")
def test_behind_the_backlog_everything_comes_at_once(engine):
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET finished_at = now() WHERE id = 1"))
    assert deliver(["feed"], seconds=60) == ALL_AT_ONCE


WAKE = """
import json, sys
from pipeline.celery import app
from pipeline.tasks import feed
now, woken = [100.0], []
feed.time.monotonic = lambda: now[0]
feed.sequence.send = lambda **_: woken.append(now[0] - 100)
for after, records in json.loads(sys.argv[1]):
    now[0] = 100 + after
    feed.wake_feed(records=records)
print(json.dumps(woken))
"""


@pytest.mark.usefixtures("backlog")
@pytest.mark.parametrize(
    ("batches", "woken"),
    [
        ([(nth / 32, 200) for nth in range(32)], [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]),
        ([(nth / 32, 2_000) for nth in range(64)], [0.0, 1.0]),
        ([(0.0, 2_000), (0.25, 2_000), (0.5, 1), (1.25, 2_000), (1.5, 2_000)], [0.0, 0.5, 1.5]),
    ],
    ids=["small ones", "those of a backlog", "both"],
)
def test_batches_of_a_backlog_wake_the_feed_once_a_second(batches, woken):
    """Each message costs a worker what two dozen calls do; a small batch is told at once, whatever came before."""
    done = warm().python(WAKE, json.dumps(batches), env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == woken


REST = """
import json
from pipeline.celery import app
from pipeline.tasks import feed
did = []
feed._rest = lambda *, until: did.append("rest")
feed.look_after_feed = lambda: did.append("look") or 0
feed.sequence()
print(json.dumps(did))
"""


def test_who_sequences_rests_before_each_look():
    done = warm().python(REST, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["rest", "look", "rest", "look"]
