"""The ingestor on real Redis and PostgreSQL, one turn at a time."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.batches.rules.failure import Failure
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import set_aside
from pipeline.database.engine import make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.pace import Pace
from pipeline.ingest.rules.states import State
from pipeline.ingest.stops import release_stop, standing_stop
from pipeline.ingestor import pace_of
from pipeline.settings import Settings
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import receive, walk


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
    assert ingestor.run_once() is State.DRAINING
    stored = rows(engine, "SELECT record_id, raw FROM inbox ORDER BY record_id")
    assert [bytes(row.raw) for row in stored] == [b"4", b"{}", b"{}"]
    assert [(batch.source, batch.records) for batch in sent] == [("enigma", 3)]
    assert stored[0].record_id == sent[0].batch_id * 65_536
    assert dialler_redis.keys("*claim*") == []
    assert ingestor.run_once() is State.DRAINING
    assert ingestor.run_once() is State.RESTING


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
    assert [slow.run_once() for _ in range(3)] == [State.DRAINING, State.DRAINING, State.FULL]
    assert dialler_redis.llen(LIST) == 1


def test_what_nothing_is_ahead_of_is_sent_in_its_own_way(cdr_list, dialler_redis, engine, sent):
    """A worker has it at once; what waits behind others is told of before that."""
    alone = []
    ingestor = Ingestor(
        cdr_list,
        engine,
        source="enigma",
        send=lambda batch: sent.append(batch) or True,
        send_alone=lambda batch: alone.append(batch) or True,
        pace=Pace(batch_size=1),
    )
    dialler_redis.rpush(LIST, make_record(), make_record())
    assert [ingestor.run_once() for _ in range(2)] == [State.DRAINING] * 2
    assert ([batch.batch_id for batch in alone], [batch.batch_id for batch in sent]) == ([1], [2])
    for batch in (*alone, *sent):
        walk(engine, batch)
    dialler_redis.rpush(LIST, make_record())
    assert ingestor.run_once() is State.DRAINING
    assert [batch.batch_id for batch in alone] == [1, 3]


def test_ten_batches_are_on_their_way_at_most(cdr_list, engine, dialler_redis):
    """However many batches may be unfinished: beyond that records wait better on the dialler's list."""
    pace = pace_of(Settings(pipeline_batch_size=10, pipeline_max_unfinished_batches=10_000))
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True, pace=pace)
    walk(engine, receive(engine, *(make_record(call_ref=number) for number in range(100))))
    dialler_redis.rpush(LIST, *([b"x"] * 200))
    assert [ingestor.run_once() for _ in range(11)] == [*[State.DRAINING] * 10, State.FULL]
    assert dialler_redis.llen(LIST) == 100


def test_with_the_database_away_nothing_is_claimed(cdr_list, dialler_redis):
    """Elements are left on the dialler's list while nothing can be committed."""
    away = make_engine("postgresql+psycopg://postgres@127.0.0.1:1/nowhere", application="test")
    ingestor = Ingestor(cdr_list, away, source="enigma", send=lambda batch: True)
    dialler_redis.rpush(LIST, b"1")
    assert ingestor.run_once() is State.OUTAGE
    assert ingestor.run_once() is State.OUTAGE
    assert dialler_redis.llen(LIST) == 1
    assert cdr_list.open_claims() == []


def test_with_the_broker_away_records_are_settled_all_the_same(cdr_list, engine, dialler_redis):
    """The message is lost and the row is not: the reconciler will send it."""
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: False)
    dialler_redis.rpush(LIST, b"1")
    assert ingestor.run_once() is State.DRAINING
    assert rows(engine, "SELECT records, finished_at FROM batches") == [(1, None)]


def test_with_the_dialler_away_it_waits(engine):
    """An absent dialler is an outage, not an end."""
    nowhere = CdrList("redis://127.0.0.1:1/0", LIST, owner="test")
    ingestor = Ingestor(nowhere, engine, source="enigma", send=lambda batch: True)
    assert ingestor.run_once() is State.OUTAGE


def test_a_second_ingestor_stands_by(ingestor, servers, engine, dialler_redis, sent):
    """The list allows one consumer: the second one claims nothing until the first is gone."""
    standby_list = CdrList(servers.dialler_redis.url, LIST, owner="standby")
    standby = Ingestor(standby_list, engine, source="enigma", send=lambda batch: True)
    assert ingestor.run_once() is State.RESTING
    dialler_redis.rpush(LIST, b"1")
    assert standby.run_once() is State.STANDING_BY
    ingestor._leave()
    assert standby.run_once() is State.DRAINING
    standby_list.close()


def normalized(engine, *, bad):
    """Mark every batch normalized, with this many bad records in it."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET normalized_at = now(), finished_at = now()"))
        for (record_id,) in connection.execute(text("SELECT record_id FROM inbox ORDER BY 1 LIMIT :n"), {"n": bad}):
            set_aside(connection, "enigma", Step.NORMALIZE, [Failure(record_id, "data", "record: is not JSON")])


def test_the_fuse_blows_when_most_records_are_bad_and_a_person_resets_it(cdr_list, engine, dialler_redis):
    """Rather than empty the list into quarantine the ingestor stops claiming, until somebody releases it."""
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True, pace=Pace(batch_size=100))
    dialler_redis.rpush(LIST, *([b"rubbish"] * 300))
    assert ingestor.run_once() is State.DRAINING
    normalized(engine, bad=51)
    assert [ingestor.run_once(), ingestor.run_once()] == [State.STOPPED, State.STOPPED]
    assert dialler_redis.llen(LIST) == 200
    with engine.begin() as connection:
        assert standing_stop(connection, "enigma").reason.startswith("51 of the last 100 records were bad")
        assert release_stop(connection, "enigma", "thandi") is not None
    assert ingestor.run_once() is State.DRAINING
    assert dialler_redis.llen(LIST) == 100


def test_a_dialler_that_counts_from_one_again_is_stopped(cdr_list, engine, dialler_redis):
    """Its records are well, and carry the references of other calls: to accept them would overwrite those."""
    walk(engine, receive(engine, *(make_record(call_ref=number) for number in range(1, 301))), (Step.NORMALIZE,))
    dialler_redis.rpush(LIST, *(make_record(call_ref=number, number="0820009999") for number in range(1, 301)))
    ingestor = Ingestor(
        cdr_list,
        engine,
        source="enigma",
        send=lambda batch: bool(walk(engine, batch, (Step.NORMALIZE,))),
        pace=Pace(batch_size=200),
    )
    assert [ingestor.run_once() for _ in range(3)] == [State.DRAINING, State.STOPPED, State.STOPPED]
    assert dialler_redis.llen(LIST) == 100
    with engine.begin() as connection:
        stop = standing_stop(connection, "enigma")
    assert stop.kind == "conflicts"
    assert "200 of the last 200 records" in stop.reason
    assert "ENIGMA_SOURCE" in stop.reason
    renamed = Ingestor(cdr_list, engine, source="enigma-2", send=lambda batch: True)
    assert renamed.run_once() is State.DRAINING


def test_some_conflicts_are_not_a_dialler_installed_anew(cdr_list, engine, dialler_redis):
    """Corrections of stored calls, among them new ones, wait for a person and stop nothing."""
    walk(engine, receive(engine, *(make_record(call_ref=number) for number in range(1, 101))), (Step.NORMALIZE,))
    changed = [make_record(call_ref=number, number="0820009999") for number in range(1, 101)]
    walk(engine, receive(engine, *changed, *(make_record(call_ref=number) for number in range(101, 201))))
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)
    assert ingestor.run_once() is State.RESTING


def test_half_bad_is_not_most(cdr_list, engine, dialler_redis):
    """The fuse holds as long as good records are at least as many as bad ones."""
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True, pace=Pace(batch_size=100))
    dialler_redis.rpush(LIST, *([b"rubbish"] * 200))
    ingestor.run_once()
    normalized(engine, bad=50)
    assert ingestor.run_once() is State.DRAINING


def test_a_list_not_known_yet_is_taken_up_slowly(cdr_list, engine, dialler_redis):
    """Until enough records have proved good, only a few hundred are on their way."""
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)
    dialler_redis.rpush(LIST, *([b"x"] * 2_000))
    assert [ingestor.run_once(), ingestor.run_once()] == [State.DRAINING, State.FULL]
    assert dialler_redis.llen(LIST) == 1_500
    normalized(engine, bad=0)
    assert ingestor.run_once() is State.DRAINING
    assert dialler_redis.llen(LIST) == 0


def test_the_diallers_own_list_is_refused(cdr_list, engine, dialler_redis):
    """A list that holds the dialler's internal messages is left alone: eating them would stall its dialling."""
    dialler_redis.rpush(LIST, make_record(), b'{"type":"queue_calls","payload":{"rate":3,"ref":"spring"}}')
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)
    assert [ingestor.run_once(), ingestor.run_once()] == [State.STOPPED, State.STOPPED]
    assert dialler_redis.llen(LIST) == 2
    with engine.begin() as connection:
        release_stop(connection, "enigma", "thandi")
    again = Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)
    assert again.run_once() is State.DRAINING
