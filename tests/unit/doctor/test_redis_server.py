"""What is said of a Redis, by what it says of itself."""

from __future__ import annotations

import pytest

from pipeline.doctor.rules.redis_server import (
    RedisFacts,
    judge_broker_redis,
    judge_claim_method,
    judge_dedicated,
    judge_dialler_redis,
    judge_memory,
    judge_persistence,
    judge_redis_error,
    judge_server,
)
from pipeline.doctor.rules.verdict import Level

GOOD = RedisFacts(
    version=(7, 2, 4),
    run_id="a",
    role="master",
    policy="noeviction",
    maxmemory=0,
    used=1_000_000,
    aof=True,
    snapshots=False,
    last_write_failed=False,
)


def test_a_good_broker_has_nothing_to_do():
    """Four verdicts, all of them fine, and no advice."""
    verdicts = list(judge_broker_redis(GOOD, GOOD._replace(run_id="b")))
    assert [verdict.check for verdict in verdicts] == [
        "broker", "broker dedicated", "broker memory", "broker persistence",
    ]  # fmt: skip
    assert {verdict.level for verdict in verdicts} == {Level.OK}
    assert not any(verdict.remedy for verdict in verdicts)


def test_a_good_dialler_has_nothing_to_do():
    """The method of claiming is told too."""
    verdicts = list(judge_dialler_redis(GOOD))
    assert {verdict.level for verdict in verdicts} == {Level.OK}
    assert "LMOVE" in verdicts[1].says


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("NOAUTH Authentication required.", "Correct the user and password in X_URL."),
        ("invalid username-password pair or user is disabled.", "Correct the user and password in X_URL."),
        ("AUTH <password> called without any password configured", "Correct the user and password in X_URL."),
        ("NOPERM this user has no permissions to run the 'info' command", "Allow its user the commands"),
        ("this user has no permissions to run the 'eval' command", "Allow its user the commands"),
        ("LOADING Redis is loading the dataset in memory", "Wait"),
        ("Timeout reading from socket", "Check the host in X_URL"),
        ("Timeout connecting to server", "Check the host in X_URL"),
        ("Error -2 connecting to nowhere:1. Name or service not known.", "Correct the host in X_URL"),
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "Start it, or correct the host and port"),
        ("Error 2 connecting to 127.0.0.1:1. No such file or directory.", "Correct ssl_ca_certs"),
        ("Invalid SSL Certificate Requirements Flag: CERT_REQUIRED", "Write ssl_cert_reqs=required"),
        ("Connection closed by server.", "Correct the port in X_URL"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "rediss://"),
        ("", "Check X_URL"),
    ],
)
def test_each_error_has_its_advice(said, advice):
    """What the server or the library said is shown, with what to do."""
    verdict = judge_redis_error("broker", "X_URL", OSError(said) if said else ValueError())
    assert verdict.level is Level.PROBLEM
    assert verdict.remedy.startswith(advice) or advice in verdict.remedy
    assert verdict.without([]) == verdict, "nothing in it looks like a password"
    assert not verdict.says.endswith(".")


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (GOOD._replace(version=(4, 0, 14)), "it is Redis 4.0.14"),
        (GOOD._replace(role="slave", valkey="9.1.2"), "it is a read-only replica (Valkey 9.1.2)"),
        (GOOD._replace(role="slave"), "it is a read-only replica (Redis 7.2.4)"),
        (GOOD._replace(refusal="NOPERM no"), "Redis 7.2.4 refuses a script or a write: NOPERM no"),
        (GOOD._replace(last_write_failed=True), "Redis 7.2.4 cannot save to its disk"),
    ],
)
def test_a_server_that_cannot_serve_is_a_problem(facts, says):
    """Too old, read-only, refusing, or with a full disk."""
    verdict = judge_server("broker", facts)
    assert (verdict.level, verdict.says) == (Level.PROBLEM, says)
    assert verdict.remedy


@pytest.mark.parametrize(("version", "method"), [((6, 2, 0), "LMOVE"), ((6, 0, 9), "RPOPLPUSH")])
def test_the_method_of_claiming_follows_the_version(version, method):
    """LMOVE came with 6.2."""
    assert judge_claim_method("claim method", GOOD._replace(version=version)).says.startswith(method)


@pytest.mark.parametrize(
    ("policy", "maxmemory", "used", "level"),
    [
        ("noeviction", 0, 10, Level.OK),
        ("noeviction", 1000, 800, Level.OK),
        ("noeviction", 1000, 801, Level.WARNING),
        ("volatile-lru", 1000, 10, Level.OK),
        ("allkeys-lru", 1000, 10, Level.PROBLEM),
        ("allkeys-lru", 0, 10, Level.WARNING),
        (None, 0, 10, Level.WARNING),
    ],
)
def test_eviction_is_judged_by_policy_and_limit(policy, maxmemory, used, level):
    """Only a server that may throw away keys, and has a limit, loses something."""
    facts = GOOD._replace(policy=policy, maxmemory=maxmemory, used=used)
    assert judge_memory("memory", facts, "calls").level is level


@pytest.mark.parametrize(
    ("aof", "snapshots", "level"),
    [
        (True, False, Level.OK),
        (False, True, Level.WARNING),
        (False, False, Level.WARNING),
        (False, None, Level.WARNING),
        (None, None, Level.WARNING),
    ],
)
def test_persistence_is_never_a_problem_of_ours(aof, snapshots, level):
    """It is a risk, for nothing is lost while the server is up."""
    facts = GOOD._replace(aof=aof, snapshots=snapshots)
    assert judge_persistence("persistence", facts, "calls", "do").level is level


def test_a_broker_is_nobody_elses():
    """The dialler's Redis as broker is wrong; a third party in it is a risk."""
    assert judge_dedicated("d", GOOD, GOOD).level is Level.PROBLEM
    assert judge_dedicated("d", GOOD, None).level is Level.OK
    shared = judge_dedicated("d", GOOD._replace(strangers=("3 keys in database 1",)), None)
    assert (shared.level, shared.says) == (Level.WARNING, "others use it too: 3 keys in database 1")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"refusal": "MISCONF Redis is configured to save RDB snapshots"}, "Free its disk"),
        ({"last_write_failed": True}, "Free its disk"),
        ({"refusal": "OOM command not allowed when used memory > 'maxmemory'."}, "Give it more memory"),
        ({"refusal": "NOPERM this user has no permissions to run the 'eval' command"}, "Allow its user"),
    ],
)
def test_a_refused_write_is_told_by_its_cause(change, remedy):
    """A full disk and a full memory are no missing right."""
    assert judge_server("broker", GOOD._replace(**change)).remedy.startswith(remedy)
