"""Neither a record, nor an entry in the register, nor a peer that hangs stops intake."""

from __future__ import annotations

import time
import uuid

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.database.engine import driver_connection, make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.states import State
from pipeline.monitoring import metrics
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import rows


@pytest.fixture
def ingestor(cdr_list, engine):
    return Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)


@pytest.fixture
def counted(monkeypatch):
    """This process counts, as one does that serves metrics."""
    monkeypatch.setattr(metrics._Serving, "metrics", None)
    return metrics.count_here()


def received(engine):
    return rows(engine, "SELECT coalesce(sum(records), 0) FROM batches")[0][0]


def test_a_record_with_an_absurd_time_is_received(ingestor, dialler_redis, engine, counted):
    """The ends of the list are looked at before the first claim; what lies there cannot keep it from being claimed."""
    dialler_redis.rpush(LIST, make_record(), b'{"type": "cdr", "payload": {"dialed_at": %s}}' % (b"9" * 400))
    assert ingestor.run_once() is State.DRAINING
    assert received(engine) == 2
    assert counted.get_sample_value("cdr_list_oldest_age_seconds", {"source": "enigma"}) > 0


@pytest.mark.parametrize("command", ["type", "time", "hgetall"])
def test_a_look_that_is_refused_costs_only_the_look(servers, dialler_redis, engine, counted, command):
    """Metrics need commands that claiming does not."""
    dialler_redis.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+@all", f"-{command}")
    guest = CdrList(servers.dialler_redis.url.replace("://", "://guest:pw@"), LIST, owner="guest")
    dialler_redis.rpush(LIST, make_record())
    try:
        assert Ingestor(guest, engine, source="enigma", send=lambda batch: True).run_once() is State.DRAINING
    finally:
        guest.close()
        dialler_redis.execute_command("ACL", "DELUSER", "guest")


def test_a_sign_of_life_that_is_refused_costs_only_the_sign(ingestor, dialler_redis, engine):
    """A grant that is missing on a table that only tells."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE heartbeats ADD CHECK (who = 'nobody')"))
    dialler_redis.rpush(LIST, make_record())
    assert ingestor.run_once() is State.DRAINING


FOREIGN = {
    "no UUID": lambda r, c: r.hset(c.register_key, "not-a-uuid", "somebody|1"),
    "another spelling": lambda r, c: r.hset(c.register_key, "{" + str(uuid.uuid4()) + "}", "somebody|1"),
    "no UTF-8": lambda r, c: r.hset(c.register_key, b"\xff\xfe", b"\xff|x"),
    "no time": lambda r, c: r.hset(c.register_key, str(uuid.uuid4()), "yesterday"),
    "another type": lambda r, c: [
        r.hset(c.register_key, (name := str(uuid.uuid4())), "somebody|1"),
        r.set(c.claim_key(name), "x"),
    ],
    "a claim of 70,000": lambda r, c: [
        r.hset(c.register_key, (name := str(uuid.uuid4())), "somebody|1"),
        r.rpush(c.claim_key(name), *([b"{}"] * 70_000)),
    ],
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_entry_in_the_register_is_passed_over(
    ingestor, cdr_list, dialler_redis, engine, counted, capsys, what
):
    """It is said once and left alone; calls, and the claims behind it, are settled."""
    FOREIGN[what](dialler_redis, cdr_list)
    dialler_redis.rpush(LIST, b"orphan")
    cdr_list.claim(1)
    dialler_redis.rpush(LIST, make_record())
    assert ingestor.run_once() is State.DRAINING
    assert received(engine) == 2
    ingestor.recover()
    left = 0 if what == "no time" else 1
    assert dialler_redis.hlen(cdr_list.register_key) == left, "what is not ours is not deleted"
    assert capsys.readouterr().out.count("claim_passed_over") + 0 == left


def test_a_claim_that_nobody_registered_is_found(ingestor, cdr_list, dialler_redis, engine):
    """As when the register was deleted, or a former version could not write it."""
    dialler_redis.rpush(LIST, b"1", b"2")
    claim = cdr_list.claim(2)
    dialler_redis.delete(cdr_list.register_key)
    dialler_redis.set("{" + LIST + "}:cdr:claim:what-is-this", "x")
    ingestor.run_once()
    assert received(engine) == 2
    assert not dialler_redis.exists(cdr_list.claim_key(claim.id))


def test_a_claim_that_nobody_registered_is_found_among_many_keys(ingestor, cdr_list, dialler_redis, engine):
    """A part of the keys is looked at each time, so that a large Redis is not held up."""
    dialler_redis.mset({f"other:{number}": "x" for number in range(30_000)})
    dialler_redis.rpush(LIST, b"1")
    cdr_list.claim(1)
    dialler_redis.delete(cdr_list.register_key)
    for _ in range(10):
        ingestor.recover()
    assert received(engine) == 1


def test_nothing_moves_that_cannot_be_registered(servers, dialler_redis, engine):
    """A user that lacks HSET moves nothing; once it has it, everything comes."""
    acl = ("ACL", "SETUSER", "guest")
    dialler_redis.execute_command(*acl, "on", ">pw", "~*", "+@all", "-hset")
    guest = CdrList(servers.dialler_redis.url.replace("://", "://guest:pw@"), LIST, owner="guest")
    ingestor = Ingestor(guest, engine, source="enigma", send=lambda batch: True)
    dialler_redis.rpush(LIST, *([b"{}"] * 300))
    try:
        assert [ingestor.run_once() for _ in range(3)] == [State.OUTAGE] * 3
        assert dialler_redis.llen(LIST) == 300
        dialler_redis.execute_command(*acl, "+hset")
        assert ingestor.run_once() is State.DRAINING
        assert received(engine) == 300
        assert guest.open_claims() == []
    finally:
        guest.close()
        dialler_redis.execute_command("ACL", "DELUSER", "guest")


def test_a_register_of_another_type_moves_nothing(cdr_list, dialler_redis):
    """Whatever keeps the register from being written keeps the list as it is."""
    dialler_redis.set(cdr_list.register_key, "x")
    dialler_redis.rpush(LIST, b"1")
    with pytest.raises(redis.ResponseError):
        cdr_list.claim(1)
    assert dialler_redis.llen(LIST) == 1
    dialler_redis.delete(cdr_list.register_key)


@pytest.fixture
def frozen(engine, cdr_list, dialler_redis, database_url):
    """A peer that stands still for ever in the middle of a COPY, with half of its claim written."""
    dialler_redis.rpush(LIST, *([b"{}"] * 500))
    claim = cdr_list.claim(500)
    peer = make_engine(database_url, application="frozen", pool_size=1)
    with peer.connect() as connection:
        driver = driver_connection(connection)
        driver.execute(
            "INSERT INTO batches (claim, source, records, due_at) VALUES (%s, 'enigma', 500, now())", [claim.id]
        )
        driver.pgconn.send_query(b"COPY inbox (record_id, raw) FROM STDIN")
        deadline = time.monotonic() + 10
        query = "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'frozen' AND state = 'active'"
        while rows(engine, query) != [("ClientRead",)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield claim
        driver.close()
        connection.invalidate()
    peer.dispose()


def test_a_peer_frozen_in_the_middle_of_a_copy_does_not_stop_intake(ingestor, cdr_list, dialler_redis, engine, frozen):
    """Its claim waits, and is said to; new calls are received within seconds."""
    dialler_redis.rpush(LIST, make_record())
    began = time.monotonic()
    assert ingestor.run_once() is State.DRAINING
    assert time.monotonic() - began < 3
    assert received(engine) == 1
    assert cdr_list.open_claims() == [frozen.id]
    with engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'frozen'")
        )
    assert ingestor.recover() == 500
    assert received(engine) == 501


def test_the_server_notices_a_client_that_is_gone(engine):
    """It asks whether the client lives, rather than hold its locks for the two hours that systems think right."""
    with engine.connect() as connection:
        shown = {
            name: connection.scalar(text(f"SELECT current_setting('{name}')"))
            for name in (
                *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"),
                *("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"),
            )
        }
    assert shown == {
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "3",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "15000",
        "idle_in_transaction_session_timeout": "2min",
        "lock_timeout": "30s",
        "statement_timeout": "0",
    }


def test_the_client_notices_a_server_that_is_gone(engine):
    """Without a word, as at a power cut: by what its socket is set to."""
    with engine.connect() as connection:
        told = driver_connection(connection).info.get_parameters()
    assert {name: told.get(name) for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")} == {
        "keepalives_idle": "5",
        "keepalives_interval": "3",
        "keepalives_count": "3",
    }
    assert told["tcp_user_timeout"] == "15000"


def test_a_process_may_bound_its_statements(database_url):
    """The ingestor's are short: one that is not has met something broken, and an outage is waited out."""
    engine = make_engine(database_url, application="test", pool_size=1, statement_timeout_seconds=60)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_setting('statement_timeout')")) == "1min"
    engine.dispose()


def test_a_database_that_takes_no_writes_is_waited_for(ingestor, cdr_list, dialler_redis, engine, database_url):
    """A standby, or a primary that its provider set read-only for a full disk: nothing is claimed meanwhile."""
    name = make_url(database_url).database
    server = create_engine(make_url(database_url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    dialler_redis.rpush(LIST, make_record())
    with server.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        assert [ingestor.run_once() for _ in range(3)] == [State.OUTAGE] * 3
        assert dialler_redis.llen(LIST) == 1
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = off"))
    server.dispose()
    assert ingestor.run_once() is State.DRAINING


def test_a_claim_whose_answer_was_lost_is_settled_as_soon_as_redis_answers(ingestor, servers, dialler_redis, engine):
    """The elements have moved, and the ingestor was told nothing: it looks at once, not when it is time again."""
    assert ingestor.run_once() is State.RESTING
    other = CdrList(servers.dialler_redis.url, LIST, owner="test")
    dialler_redis.rpush(LIST, b"1")
    other.claim(1)  # as the script did whose answer is lost
    other.close()
    dialler_redis.set(LIST, "x")
    assert ingestor.run_once() is State.OUTAGE
    dialler_redis.delete(LIST)
    assert ingestor.run_once() is State.RESTING
    assert received(engine) == 1
