"""Settled claims are kept for a while: a database that took over may have lost what was committed last."""

from __future__ import annotations

import os
import subprocess
import uuid

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pipeline.database.engine import make_engine
from pipeline.database.identity import database_identity
from pipeline.database.migrations import upgrade
from pipeline.dialler.cdr_list import CdrList
from pipeline.dialler.kept_claims import KeptClaims
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.states import State
from pipeline.sandbox.servers import PostgresServer, RedisServer
from tests.conftest import LIST
from tests.factories import make_record
from tests.integration.flow import rows
from tests.patience import eventually

PREFIX = CdrList.prefix_of(LIST)


@pytest.fixture
def keeping(servers, dialler_redis):
    """The list of an ingestor that keeps what it settled."""
    held = CdrList(servers.dialler_redis.url, LIST, owner="test", keep_seconds=900)
    yield held
    held.close()


def ingestor_of(cdr_list, engine):
    return Ingestor(cdr_list, engine, source="enigma", send=lambda batch: True)


def raw(engine):
    return sorted(bytes(row.raw) for row in rows(engine, "SELECT raw FROM inbox"))


def copy_of(engine, name):
    """Another database, with all that is in this one."""
    url = make_url(engine.url)
    engine.dispose()
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {url.database}"))
    server.dispose()
    return make_engine(url.set(database=name).render_as_string(hide_password=False), application="test")


def drop(engine):
    url = make_url(engine.url)
    engine.dispose()
    server = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
    server.dispose()


@pytest.mark.parametrize("has_lmove", [True, False], ids=["LMOVE", "RPOPLPUSH"])
def test_what_the_new_database_lacks_is_settled_again(keeping, dialler_redis, engine, has_lmove):
    """Each record once, in its order, and what the new one has is left alone."""
    if not has_lmove:
        keeping._has_lmove = False
    dialler_redis.rpush(LIST, b"1", b"2")
    assert ingestor_of(keeping, engine).run_once() is State.DRAINING
    standby = copy_of(engine, "taken_over")
    dialler_redis.rpush(LIST, b"3", b"4")
    assert ingestor_of(keeping, engine).run_once() is State.DRAINING
    try:
        again = ingestor_of(keeping, standby)
        assert again.recover() == 2
        assert [bytes(row.raw) for row in rows(standby, "SELECT raw FROM inbox ORDER BY record_id")] == [
            *(b"2", b"1"),
            *(b"4", b"3"),
        ]
        assert again.recover() == 0
        assert rows(standby, "SELECT count(*) FROM batches") == [(2,)]
    finally:
        drop(standby)
    assert ingestor_of(keeping, engine).recover() == 0, "back at the first one everything is known"


def test_a_standby_that_takes_over_begins_a_timeline(keeping, dialler_redis, tmp_path):
    """The same cluster, database and address: only its history is another."""
    with PostgresServer(tmp_path / "primary", fsync=False) as primary:
        engine = make_engine(primary.url, application="test", pool_size=1)
        upgrade(engine)
        ingestor_of(keeping, engine).run_once()
        with engine.connect() as connection:
            first = database_identity(connection)
        engine.dispose()
        primary.stop()
        (tmp_path / "standby").mkdir()
        subprocess.run(["cp", "-a", primary.data, tmp_path / "standby" / "data"], check=True)
        primary.start()
        dialler_redis.rpush(LIST, b"1", b"2")
        assert ingestor_of(keeping, engine).run_once() is State.DRAINING
        with engine.connect() as connection:
            assert database_identity(connection) == first, "a restart changes nothing"
        engine.dispose()
    signal = tmp_path / "standby" / "data" / "recovery.signal"
    signal.touch()
    os.chown(signal, *(getattr(signal.parent.stat(), name) for name in ("st_uid", "st_gid")))
    with PostgresServer(tmp_path / "standby", fsync=False, settings={"restore_command": "false"}) as standby:
        engine = make_engine(standby.url, application="test", pool_size=1)

        def identity():  # none while it recovers still
            with engine.connect() as connection:
                return database_identity(connection)

        now = eventually(identity)
        assert (now.rpartition("/")[0], now != first) == (first.rpartition("/")[0], True)
        assert raw(engine) == []
        assert ingestor_of(keeping, engine).run_once() is State.RESTING
        assert raw(engine) == [b"1", b"2"]
        engine.dispose()


def test_an_outage_on_the_way_leaves_nothing_out(keeping, dialler_redis, engine, monkeypatch):
    """The new database is noted once everything is settled, not before."""
    dialler_redis.rpush(LIST, b"1")
    ingestor_of(keeping, engine).run_once()
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE batches, inbox"))
    keeping.kept.stored_in("another")
    with engine.connect() as blocking:
        blocking.execute(text("LOCK TABLE batches IN EXCLUSIVE MODE"))
        assert ingestor_of(keeping, engine).recover() == 0
    assert ingestor_of(keeping, engine).recover() == 1


def test_they_are_let_go_of_when_it_is_time(servers, keeping, dialler_redis, engine):
    """By whoever leads, also what another one kept."""
    dialler_redis.rpush(LIST, b"1", b"2")
    ingestor_of(keeping, engine).run_once()
    assert len(list(keeping.kept)) == 1
    ingestor_of(keeping, engine).recover()
    assert len(list(keeping.kept)) == 1
    oldest = dialler_redis.lindex(f"{PREFIX}settled", -1).split(b"|")
    dialler_redis.lset(f"{PREFIX}settled", -1, b"|".join((oldest[0], b"%d" % (int(oldest[1]) - 900), oldest[2])))
    ingestor_of(keeping, engine).recover()
    assert dialler_redis.keys("*settled*") == []


def test_switched_off_nothing_is_kept_and_the_rest_goes(cdr_list, keeping, dialler_redis, engine):
    """As before there was such a thing."""
    dialler_redis.rpush(LIST, b"1")
    ingestor_of(keeping, engine).run_once()
    keeping.release_lease()
    dialler_redis.rpush(LIST, b"2")
    off = ingestor_of(cdr_list, engine)
    assert off.run_once() is State.DRAINING
    off.recover()
    assert dialler_redis.keys("*settled*") == []


def test_while_the_database_is_away_nothing_is_let_go_of(servers, dialler_redis, engine):
    """A failover by hand may take hours, and then they are needed."""
    held = CdrList(servers.dialler_redis.url, LIST, owner="test", keep_seconds=0.001)
    dialler_redis.rpush(LIST, b"1")
    ingestor_of(held, engine).run_once()
    away = make_engine("postgresql+psycopg://postgres@127.0.0.1:1/nowhere", application="test")
    assert ingestor_of(held, away).run_once() is State.OUTAGE
    assert len(list(held.kept)) == 1
    held.close()


def kept_of(client, claims, *, size, most_bytes):
    kept = KeptClaims(client, PREFIX, keep_seconds=900, most_bytes=most_bytes)
    for claim_id in claims:
        client.rpush(f"claim:{claim_id}", b"x" * size)
        kept.keep(claim_id, f"claim:{claim_id}", "register", size)
    return kept


def test_they_hold_no_more_than_they_may(dialler_redis):
    """The oldest are let go of first, however many there are."""
    claims = [uuid.uuid4() for _ in range(1_200)]
    kept = kept_of(dialler_redis, claims, size=100, most_bytes=1_000)
    assert list(kept) == claims[-len(list(kept)) :]
    assert 10 <= len(list(kept)) <= 11
    kept = kept_of(dialler_redis, more := [uuid.uuid4() for _ in range(1_200)], size=1, most_bytes=100_000)
    assert list(kept)[-1_200:] == more
    assert len(dialler_redis.keys(f"{PREFIX}settled:*")) == len(list(kept))


def test_keeping_a_claim_again_does_nothing(dialler_redis):
    """Two ingestors may settle and keep the same one."""
    claim = uuid.uuid4()
    kept = kept_of(dialler_redis, [claim], size=100, most_bytes=1_000)
    kept.keep(claim, f"claim:{claim}", "register", 100)
    assert list(kept) == [claim]


def test_entries_of_others_do_no_harm(dialler_redis):
    """They are read over, and let go of when they are the oldest."""
    dialler_redis.lpush(f"{PREFIX}settled", b"\xff", b"x|y|z", b"a|b", b"||")
    claim = uuid.uuid4()
    kept = kept_of(dialler_redis, [claim], size=10, most_bytes=1_000)
    assert list(kept) == [claim]
    kept.let_go()
    assert dialler_redis.llen(f"{PREFIX}settled") == 1


def test_a_user_that_may_not_rename_keeps_nothing(servers, dialler_redis, engine):
    """One made for a former version: calls are received all the same."""
    dialler_redis.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+@all", "-rename", "-scan")
    url = servers.dialler_redis.url.replace("://", "://guest:pw@")
    guest = CdrList(url, LIST, owner="guest", keep_seconds=900)
    try:
        ingestor = ingestor_of(guest, engine)
        for _ in range(2):
            dialler_redis.rpush(LIST, make_record())
            assert ingestor.run_once() is State.DRAINING
        assert guest.open_claims() == []
        assert dialler_redis.keys("*:settled:*") == dialler_redis.keys("*:claim:*") == []
    finally:
        guest.close()
        dialler_redis.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize("pushed", [1, 0], ids=["a record waits", "the list is empty"])
def test_with_no_memory_left_they_go_first(engine, tmp_path, pushed):
    """A call that the dialler cannot put on its list is lost; what is kept is there only in case.

    The push that took the last of the memory is on the list, so it is noticed at the next poll; where others took it,
    at the next look.
    """
    with RedisServer(tmp_path / "redis", appendonly=False) as server, redis.Redis.from_url(server.url) as client:
        held = CdrList(server.url, LIST, owner="test", keep_seconds=900)
        client.rpush(LIST, *([b"x" * 1_000] * 300))
        ingestor = ingestor_of(held, engine)
        assert ingestor.run_once() is State.DRAINING
        if pushed:
            client.rpush(LIST, make_record())
        client.config_set("maxmemory", client.info()["used_memory"] - 100_000)
        if pushed:
            assert ingestor.run_once() is State.OUTAGE
        else:
            eventually(lambda: ingestor.run_once() is State.OUTAGE, seconds=3)
        assert client.keys("*settled*") == []
        assert ingestor.run_once() is (State.DRAINING if pushed else State.RESTING)
        held.close()


def test_a_database_that_does_not_tell_is_used_all_the_same(keeping, dialler_redis, engine):
    """A provider may keep these functions to itself."""
    with engine.begin() as connection:
        connection.execute(text("REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC"))
        connection.execute(text("CREATE ROLE outsider LOGIN"))
        connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO outsider"))
    url = engine.url.set(username="outsider").render_as_string(hide_password=False)
    outsider = make_engine(url, application="test", pool_size=1)
    dialler_redis.rpush(LIST, make_record())
    try:
        assert ingestor_of(keeping, outsider).run_once() is State.DRAINING
        with outsider.connect() as connection:
            assert database_identity(connection) is None
    finally:
        outsider.dispose()
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY outsider"))
            connection.execute(text("DROP ROLE outsider"))
