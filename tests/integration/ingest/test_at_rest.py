"""What a turn asks of PostgreSQL and of the dialler's Redis, and what it sees all the same."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url

from pipeline.database.engine import make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.pace import Pace
from pipeline.ingest.rules.states import State
from pipeline.ingest.stops import raise_stop, release_stop, standing_stop
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import receive, rows, walk

NEVER = 3600.0
SELDOM = Pace(look_every=NEVER, recover_every=NEVER, longest_wait=0.01)
"""Nothing is due but the first time."""
ALWAYS = Pace(look_every=0.0, recover_every=NEVER)
"""A look is due at each turn, as it is once a second."""


@pytest.fixture
def sent():
    return []


@pytest.fixture
def make(cdr_list, engine, sent):
    """An ingestor that leads and found an empty list, at some pace."""

    def resting(pace):
        ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: sent.append(batch) or True, pace=pace)
        assert ingestor.run_once() is State.RESTING
        return ingestor

    return resting


@pytest.fixture
def begun(engine):
    """A list that grows by one with each transaction of this engine."""
    found = []

    def count(connection):
        found.append(connection)

    event.listen(engine, "begin", count)
    yield found
    event.remove(engine, "begin", count)


def asked(dialler_redis):
    """What the dialler's Redis was asked, how often; what scripts do counts too."""
    stats = dialler_redis.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): of["calls"]
        for name, of in stats.items()
        if name not in {"cmdstat_info", "cmdstat_config|resetstat"}
    }


def pushed_by_others(engine, kind="fuse"):
    with engine.begin() as connection:
        raise_stop(connection, "enigma", kind, "somebody else said so")


def test_an_empty_list_is_waited_at_and_nothing_else_is_asked(make, dialler_redis, begun):
    """No transaction, no script: one question a turn, and one only."""
    ingestor = make(SELDOM)
    begun.clear()
    dialler_redis.config_resetstat()
    assert {ingestor.run_once() for _ in range(20)} == {State.RESTING}
    assert begun == []
    assert asked(dialler_redis) == {"blmove": 20}


def test_behind_a_look_it_waits_at_the_list_at_once(make):
    """A record that comes then is not left for the end of a rest."""
    ingestor = make(ALWAYS)
    assert ingestor._walk() == 0.0


@pytest.mark.parametrize("end", ["left", "right"])
def test_a_record_ends_the_wait_and_stays_where_it_is(servers, dialler_redis, end):
    """Whoever waits moves nothing, whatever becomes of the answer."""
    waiting = CdrList(servers.dialler_redis.url, LIST, owner="test", pop_end=end)
    assert waiting.wait(0.01) is False
    pushed = threading.Timer(0.2, lambda: dialler_redis.rpush(LIST, b"1", b"2", b"3"))
    pushed.start()
    began = time.monotonic()
    assert waiting.wait(4.0) is True
    assert time.monotonic() - began < 3.0
    assert waiting.wait(4.0) is True
    assert dialler_redis.lrange(LIST, 0, -1) == [b"1", b"2", b"3"]
    pushed.join()


@pytest.mark.parametrize("why", ["an old server", "a user that may not"])
def test_where_it_cannot_wait_it_polls(make, cdr_list, dialler_redis, why):
    """As on Redis before 6.2, or as a user that was made for a former version."""
    ingestor = make(SELDOM)
    if why == "an old server":
        cdr_list._has_lmove = False
    else:
        dialler_redis.acl_setuser("default", commands=["-blmove"], categories=["+@all"], enabled=True, keys="*")
    dialler_redis.config_resetstat()
    try:
        assert {ingestor.run_once() for _ in range(5)} == {State.RESTING}
        told = asked(dialler_redis)
        assert told["llen"] == 5
        assert told.get("blmove", 0) <= 1, "it asks whether it may but once"
        dialler_redis.rpush(LIST, make_record())
        assert ingestor.run_once() is State.DRAINING
    finally:
        dialler_redis.acl_setuser("default", categories=["+@all"], enabled=True, keys="*")


def test_a_look_at_rest_is_one_transaction(make, begun):
    """As it comes once a second."""
    ingestor = make(ALWAYS)
    begun.clear()
    assert ingestor.run_once() is State.RESTING
    assert len(begun) == 1


def test_a_record_costs_one_transaction_and_two_scripts(make, dialler_redis, begun, sent):
    """Of the database: look and settle. Of Redis: the wait that it ended, the claim, and the claim's end."""
    ingestor = make(SELDOM)
    dialler_redis.rpush(LIST, make_record())
    assert ingestor.run_once() is State.DRAINING, "the scripts are on the server from now on"
    dialler_redis.rpush(LIST, make_record())
    begun.clear()
    dialler_redis.config_resetstat()
    assert ingestor.run_once() is State.DRAINING
    assert len(begun) == 1
    told = asked(dialler_redis)
    assert told["evalsha"] == 2
    assert told["blmove"] == 1
    assert told["llen"] == 1, "the claim's own"
    assert "hkeys" not in told
    assert len(sent) == 2


@pytest.mark.parametrize("pace", [SELDOM, ALWAYS], ids=["before the next claim", "at the next look"])
def test_a_stop_that_somebody_else_raised_is_seen(make, cdr_list, dialler_redis, engine, pace):
    """And its end too, whether anything came or not."""
    ingestor = make(pace)
    pushed_by_others(engine)
    if pace is SELDOM:
        dialler_redis.rpush(LIST, make_record())
    assert ingestor.run_once() is State.STOPPED
    assert cdr_list.open_claims() == []
    assert rows(engine, "SELECT count(*) FROM batches") == [(0,)]
    with engine.begin() as connection:
        release_stop(connection, "enigma", "thandi")
    assert ingestor.run_once() is (State.DRAINING if pace is SELDOM else State.RESTING)


def test_bad_records_stop_it_though_nothing_more_comes(make, dialler_redis, engine):
    """Whoever looks sees it before the next record comes."""
    ingestor = make(Pace(look_every=0.0, judge_every=0.0, recover_every=NEVER))
    walk(engine, receive(engine, *[b"no call"] * 120))
    assert ingestor.run_once() is State.STOPPED
    with engine.connect() as connection:
        assert standing_stop(connection, "enigma").kind == "fuse"


def full(engine, dialler_redis):
    receive(engine, *[b"x"] * 500)
    dialler_redis.rpush(LIST, b"1")


@pytest.mark.parametrize(
    ("state", "arrange"),
    [
        (State.RESTING, lambda *_: None),
        (State.DRAINING, lambda _, dialler_redis: dialler_redis.rpush(LIST, b"1")),
        (State.FULL, full),
        (State.STOPPED, lambda engine, _: pushed_by_others(engine)),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_the_lease_is_renewed_in_every_state_that_leads(make, cdr_list, dialler_redis, engine, state, arrange):
    """By the look, whatever comes of it."""
    ingestor = make(ALWAYS)
    arrange(engine, dialler_redis)
    dialler_redis.pexpire(cdr_list.lease_key, 2_000)
    assert ingestor.run_once() is state
    assert dialler_redis.pttl(cdr_list.lease_key) > 2_000


@pytest.mark.parametrize("arrange", [lambda engine, _: pushed_by_others(engine), full], ids=["stopped", "full"])
def test_a_lease_that_another_has_is_noticed_by_one_that_claims_nothing(make, cdr_list, dialler_redis, engine, arrange):
    """It stands by, rather than to look on."""
    ingestor = make(ALWAYS)
    arrange(engine, dialler_redis)
    dialler_redis.set(cdr_list.lease_key, "another")
    assert ingestor.run_once() is State.STANDING_BY


def test_a_lease_that_another_has_keeps_the_list_as_it_is(make, cdr_list, dialler_redis, engine):
    """It is found out by the claim, in the middle of the transaction, of which nothing is left."""
    ingestor = make(SELDOM)
    dialler_redis.rpush(LIST, make_record())
    dialler_redis.set(cdr_list.lease_key, "another")
    assert ingestor.run_once() is State.STANDING_BY
    assert dialler_redis.llen(LIST) == 1
    assert engine.pool.checkedout() == 0


def test_a_claim_whose_settling_met_an_outage_is_settled_at_once(
    make, cdr_list, dialler_redis, engine, database_url, sent, monkeypatch
):
    """The database goes between the look and the settling: the records are in the claim, and there first thing."""
    ingestor = make(SELDOM)
    claim = CdrList.claim
    other = make_engine(database_url, application="other", pool_size=1)

    def claim_and_lose(self, limit):
        claimed = claim(self, limit)
        with other.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        return claimed

    dialler_redis.rpush(LIST, b"1", b"2")
    with monkeypatch.context() as patch:
        patch.setattr(CdrList, "claim", claim_and_lose)
        assert ingestor.run_once() is State.OUTAGE
    assert dialler_redis.llen(LIST) == 0
    assert len(cdr_list.open_claims()) == 1
    assert rows(engine, "SELECT count(*) FROM batches") == [(0,)]
    dialler_redis.rpush(LIST, b"3")
    assert ingestor.run_once() is State.DRAINING
    assert [bytes(raw) for (raw,) in rows(engine, "SELECT raw FROM inbox ORDER BY record_id")] == [b"2", b"1", b"3"]
    assert cdr_list.open_claims() == []
    assert [batch.records for batch in sent] == [2, 1]
    other.dispose()


def test_with_the_database_away_an_empty_list_is_an_outage_too(cdr_list):
    """Until it answers: between two looks nobody would know."""
    away = make_engine("postgresql+psycopg://postgres@127.0.0.1:1/nowhere", application="test")
    ingestor = Ingestor(cdr_list, away, source="enigma", send=lambda batch: True)
    assert {ingestor.run_once() for _ in range(3)} == {State.OUTAGE}


def test_a_first_look_that_failed_for_an_outage_is_taken_again(cdr_list, dialler_redis, engine, database_url):
    """The lease is ours by then, and the list is not known to be the right one all the same."""
    dialler_redis.rpush(LIST, b'{"type":"queue_calls","payload":{"rate":3,"ref":"spring"}}')
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)
    name = make_url(database_url).database
    server = create_engine(make_url(database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        assert ingestor.run_once() is State.OUTAGE
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
    server.dispose()
    assert ingestor.run_once() is State.STOPPED
    assert dialler_redis.llen(LIST) == 1
