"""deploy/redis-users.acl on real Redis: the ingestor works as that user, which can do nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from pipeline.dialler import cdr_list_scripts as scripts
from pipeline.dialler.cdr_list import CdrList
from pipeline.doctor.redis_facts import look_at_redis
from pipeline.doctor.rules.redis_server import judge_claim_method
from pipeline.doctor.rules.verdict import Level
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.states import State
from tests.conftest import LIST
from tests.factories import make_record

[USER] = (Path(__file__).resolve().parents[3] / "deploy" / "redis-users.acl").read_text(encoding="utf-8").splitlines()
PASSWORD = "change-this-password"

# Used by our client library, by Python code beside the scripts, and by `pipeline doctor`.
OUTSIDE_SCRIPTS = {
    *("evalsha", "script|load", "hello", "client|setname"),
    *("info", "hkeys", "lrange", "llen", "scan", "lindex", "get", "set"),
    *("eval", "type", "time", "ping", "hgetall", "blmove"),
}


@pytest.fixture
def guest_url(servers, dialler_redis):
    """The dialler's Redis, as its operator lets us in."""
    _, name, *rules = USER.split()
    dialler_redis.execute_command("ACL", "SETUSER", name, *rules)
    yield servers.dialler_redis.url.replace("://", f"://{name}:{PASSWORD}@")
    dialler_redis.execute_command("ACL", "DELUSER", name)


def test_only_what_is_used_is_allowed():
    """Each command of the line is in a script or used beside them, and the other way round."""
    sources = (scripts.CLAIM, scripts.DROP, scripts.KEEP, scripts.LET_GO, scripts.LEASE, scripts.RELEASE)
    called = {name.lower() for source in sources for name in re.findall(r"redis\.call\('(\w+)'", source)}
    assert set(re.findall(r" \+(\S+)", USER)) == called | OUTSIDE_SCRIPTS


@pytest.mark.parametrize("end", ["left", "right"])
@pytest.mark.parametrize("has_lmove", [True, False], ids=["LMOVE", "RPOPLPUSH"])
@pytest.mark.parametrize("keep_seconds", [0, 900])
def test_the_ingestor_works_as_this_user(engine, guest_url, dialler_redis, end, has_lmove, keep_seconds):
    """Look, lead, claim, settle, drop or keep, recover what a crash left, give up the lease: nothing is refused."""
    dialler_redis.script_flush()
    dialler_redis.rpush(LIST, *(make_record(call_ref=number) for number in range(4)))
    cdr_list = CdrList(guest_url, LIST, owner="test", pop_end=end, keep_seconds=keep_seconds)
    if not has_lmove:
        cdr_list._has_lmove = False
    crashed = cdr_list.claim(2)
    assert crashed is not None
    ingestor = Ingestor(cdr_list, engine, source="enigma", send=lambda _: True)
    assert [ingestor.run_once(), ingestor.run_once()] == [State.DRAINING, State.RESTING]
    assert cdr_list.waiting() == 0
    assert cdr_list.open_claims() == []
    assert len(list(cdr_list.kept)) == (2 if keep_seconds else 0)
    cdr_list.kept.let_go(everything=True)
    ingestor.stop()
    ingestor.run()  # leaves at once, and gives up the lease
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT sum(records) FROM batches")) == 4
    assert dialler_redis.keys("*") == ([f"{cdr_list.key_prefix}database".encode()] if keep_seconds else [])


def test_nothing_is_refused_and_nothing_left_behind(guest_url, dialler_redis):
    """As `pipeline doctor` tries it."""
    client = redis.Redis.from_url(guest_url)
    facts = look_at_redis(client, trial_key=CdrList.prefix_of(LIST) + "trial", claims=True)
    client.close()
    assert (facts.refusal, facts.lacks) == (None, ())
    assert dialler_redis.keys("*") == []


@pytest.mark.parametrize("command", ["hset", "hdel", "del", "lpush", "rpoplpush", "llen", "lindex", "set", "get"])
def test_a_command_that_is_missing_is_told(guest_url, dialler_redis, command):
    """Each that takes is tried in a script, before anything is taken."""
    dialler_redis.execute_command("ACL", "SETUSER", USER.split()[1], f"-{command}")
    client = redis.Redis.from_url(guest_url)
    facts = look_at_redis(client, trial_key=CdrList.prefix_of(LIST) + "trial", claims=True)
    client.close()
    assert facts.refusal


@pytest.mark.parametrize("command", ["rename", "scan"])
def test_a_command_that_a_former_version_did_without_is_told(guest_url, dialler_redis, command):
    """What is lost with it is said; it is no reason not to start."""
    dialler_redis.execute_command("ACL", "SETUSER", USER.split()[1], f"-{command}")
    client = redis.Redis.from_url(guest_url)
    facts = look_at_redis(client, trial_key=CdrList.prefix_of(LIST) + "trial", claims=True)
    client.close()
    assert (facts.refusal, facts.lacks) == (None, (command.upper(),))
    assert judge_claim_method("claim method", facts).level is Level.WARNING


def test_of_the_diallers_keys_it_sees_the_names_alone(guest_url, dialler_redis):
    """SCAN asks no key's permission."""
    dialler_redis.set("dialler:secret", "x")
    client = redis.Redis.from_url(guest_url)
    assert client.scan() == (0, [b"dialler:secret"])
    client.close()


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "KEYS *",
        "CONFIG GET *",
        "CONFIG SET save x",
        "ACL LIST",
        "SHUTDOWN",
        "MONITOR",
        "GET dialler:secret",
        "SET dialler:secret x",
        "LRANGE dialler:queue 0 -1",
        f"RENAME {LIST} mine",
        f"LMOVE {LIST} elsewhere LEFT LEFT",
        "SUBSCRIBE dialler:events",
        "EVAL return(redis.call('GET','dialler:secret')) 0",
        "SCRIPT FLUSH",
        "REPLICAOF 127.0.0.1 1",
    ],
)
def test_it_can_do_nothing_else(guest_url, command):
    """Neither the dialler's other keys nor its server can be read or changed."""
    client = redis.Redis.from_url(guest_url)
    with pytest.raises(redis.ResponseError, match=r"(?i)no permissions|NOPERM|can't access|not allowed"):
        client.execute_command(*command.split())
    client.close()
