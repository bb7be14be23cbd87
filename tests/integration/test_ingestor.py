"""The ingestor on real Redis and PostgreSQL, one turn at a time."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.adapters.cdr_list import CdrList
from pipeline.ingestor import Ingestor, Pace, Turn
from pipeline.storage.database import make_engine
from tests.conftest import LIST


@pytest.fixture
def sent():
    return []


@pytest.fixture
def ingestor(cdr_list, engine, sent):
    return Ingestor(
        cdr_list,
        engine,
        source="enigma",
        send=lambda batch: sent.append(batch) or True,
        pace=Pace(batch_size=3),
    )


def rows(engine, query):
    with engine.connect() as connection:
        return connection.execute(text(query)).all()


def test_a_turn_settles_what_waits_and_sends_one_message(ingestor, dialler_redis, engine, sent):
    """Records are in the inbox as they came, the claim is gone, and one message names the batch."""
    elements = [b"\x00\xff not json", b"{}", b"{}", b"4"]
    dialler_redis.rpush(LIST, *elements)
    assert ingestor.run_once() is Turn.CLAIMED
    stored = rows(engine, "SELECT record_id, raw FROM inbox ORDER BY record_id")
    assert [bytes(row.raw) for row in stored] == [b"4", b"{}", b"{}"]
    assert [(batch.source, batch.records) for batch in sent] == [("enigma", 3)]
    assert stored[0].record_id == sent[0].batch_id * 65_536
    assert dialler_redis.keys("*claim*") == []
    assert ingestor.run_once() is Turn.CLAIMED
    assert ingestor.run_once() is Turn.EMPTY


def test_a_claim_left_by_a_crash_is_settled_once(ingestor, cdr_list, dialler_redis, engine, sent):
    """Between claim and settle a crash costs nothing: the next ingestor finds the claim in the register."""
    dialler_redis.rpush(LIST, b"1", b"2")
    cdr_list.claim(2)
    assert ingestor.recover() == 2
    assert [bytes(row.raw) for row in rows(engine, "SELECT raw FROM inbox ORDER BY record_id")] == [
        b"2",
        b"1",
    ]
    assert len(sent) == 1
    assert ingestor.recover() == 0


def test_a_claim_settled_but_not_dropped_is_not_settled_again(
    ingestor, cdr_list, dialler_redis, engine, sent, monkeypatch
):
    """Between settle and drop a crash costs nothing either: the database knows the claim."""
    dialler_redis.rpush(LIST, b"1", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(CdrList, "drop", lambda *_: (_ for _ in ()).throw(SystemExit("killed here")))
        with pytest.raises(SystemExit):
            ingestor.run_once()
    assert len(cdr_list.open_claims()) == 1
    ingestor.recover()
    assert rows(engine, "SELECT count(*) FROM inbox") == [(2,)]
    assert cdr_list.open_claims() == []


def test_it_recovers_first_thing(cdr_list, dialler_redis, ingestor, engine):
    """The first turn takes up what a former ingestor left before it claims anything new."""
    dialler_redis.rpush(LIST, b"old")
    cdr_list.claim(1)
    dialler_redis.rpush(LIST, b"new")
    ingestor.run_once()
    assert [bytes(row.raw) for row in rows(engine, "SELECT raw FROM inbox ORDER BY record_id")] == [
        b"old",
        b"new",
    ]


def test_it_stops_claiming_while_too_much_is_unfinished(cdr_list, engine, dialler_redis, sent):
    """With the workers behind, records stay on the dialler's list, which is durable."""
    slow = Ingestor(
        cdr_list, engine, source="enigma", send=lambda batch: True, pace=Pace(batch_size=1, max_unfinished=2)
    )
    dialler_redis.rpush(LIST, b"1", b"2", b"3")
    assert [slow.run_once() for _ in range(3)] == [Turn.CLAIMED, Turn.CLAIMED, Turn.FULL]
    assert dialler_redis.llen(LIST) == 1


def test_with_the_database_away_nothing_is_claimed(cdr_list, dialler_redis):
    """Elements are left on the dialler's list while nothing can be committed."""
    away = make_engine("postgresql+psycopg://postgres@127.0.0.1:1/nowhere", application="test")
    ingestor = Ingestor(cdr_list, away, source="enigma", send=lambda batch: True)
    dialler_redis.rpush(LIST, b"1")
    assert ingestor.run_once() is Turn.OUTAGE
    assert ingestor.run_once() is Turn.OUTAGE
    assert dialler_redis.llen(LIST) == 1
    assert cdr_list.open_claims() == []


def test_with_the_broker_away_records_are_settled_all_the_same(cdr_list, engine, dialler_redis):
    """The message is lost and the row is not: the reconciler will send it."""
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: False)
    dialler_redis.rpush(LIST, b"1")
    assert ingestor.run_once() is Turn.CLAIMED
    assert rows(engine, "SELECT records, finished_at FROM batches") == [(1, None)]


def test_with_the_dialler_away_it_waits(engine):
    """An absent dialler is an outage, not an end."""
    nowhere = CdrList("redis://127.0.0.1:1/0", LIST, owner="test")
    ingestor = Ingestor(nowhere, engine, source="enigma", send=lambda batch: True)
    assert ingestor.run_once() is Turn.OUTAGE


def test_a_second_ingestor_stands_by(ingestor, servers, engine, dialler_redis, sent):
    """The list allows one consumer: the second one claims nothing until the first is gone."""
    standby_list = CdrList(servers.dialler_redis.url, LIST, owner="standby")
    standby = Ingestor(standby_list, engine, source="enigma", send=lambda batch: True)
    assert ingestor.run_once() is Turn.EMPTY
    dialler_redis.rpush(LIST, b"1")
    assert standby.run_once() is Turn.STANDBY
    ingestor._leave()
    assert standby.run_once() is Turn.CLAIMED
    standby_list.close()
