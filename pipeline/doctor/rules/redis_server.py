"""A Redis server, the dialler's or the broker's: does it answer, and does it keep what it is given?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import Verdict, first_line, ok, problem, size, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_VERSION: Final = (5, 0)
LMOVE_VERSION: Final = (6, 2)
FULL_SHARE: Final = 0.8
REFUSED_LOGIN: Final = (
    "NOAUTH",
    "WRONGPASS",
    "INVALID USERNAME-PASSWORD",
    "INVALID PASSWORD",
    "AUTHENTICATION REQUIRED",
    "WITHOUT ANY PASSWORD CONFIGURED",
)
ERRORS: Final = (
    # Not "password: …": what stands behind that is masked.
    (REFUSED_LOGIN, "it refuses our login", "Correct the user and password in {setting}."),
    (("NOPERM", "NO PERMISSIONS"), "it refuses a command", "Allow its user the commands that deploy/README.md names."),
    (("LOADING",), "it is still reading its data from disk", "Wait; the processes wait too."),
    (
        ("TIMEOUT", "TIMED OUT"),
        "it does not answer",
        "Check the host in {setting}, the network and firewalls; and with rediss://, that it speaks TLS.",
    ),
    (
        ("NAME OR SERVICE", "NAME RESOLUTION", "NODENAME"),
        "its host is not known",
        "Correct the host in {setting}.",
    ),
    (("REQUIREMENTS FLAG",), "TLS fails", "Write ssl_cert_reqs=required, or none, in {setting}."),
    (
        ("NO SUCH FILE", "PERMISSION DENIED"),
        "a certificate cannot be read",
        "Correct ssl_ca_certs, ssl_certfile and ssl_keyfile in {setting}, or let this user read the files.",
    ),
    (
        ("CLOSED BY SERVER", "RESET BY PEER"),
        "it hangs up",
        "Correct the port in {setting}: no Redis is there, or one that speaks TLS, which takes rediss://.",
    ),
    (("SSL", "CERTIFICATE"), "TLS fails", "Use rediss:// in {setting} where it speaks TLS, redis:// elsewhere."),
    (("REFUSED", "CONNECT"), "it cannot be reached", "Start it, or correct the host and port in {setting}."),
)
"""Words in what the client library says of an error, what they mean, and what to do; the first that fits."""


class RedisFacts(NamedTuple):
    """What a Redis says of itself; None where it does not tell."""

    version: tuple[int, int, int]
    run_id: str
    role: str
    policy: str | None
    maxmemory: int
    used: int
    aof: bool | None
    snapshots: bool | None
    last_write_failed: bool
    refusal: str | None = None
    """What it said to a script or a write of ours that it refused."""
    strangers: tuple[str, ...] = ()
    """What else is in it, where that matters."""
    lacks: tuple[str, ...] = ()
    """Commands that claims can do without, and that are refused."""
    valkey: str | None = None
    """The version of a Valkey; ``version`` is then that of the Redis whose commands it has."""

    @property
    def name(self) -> str:
        """What it is, as people call it: ``Redis 7.2.4``, ``Valkey 9.1.2``."""
        return f"Valkey {self.valkey}" if self.valkey else "Redis " + ".".join(str(part) for part in self.version)


def judge_redis_error(check: str, setting: str, error: BaseException) -> Verdict:
    """Why a Redis cannot be used, from what the client library said."""
    said = first_line(error)
    where = said.upper()
    # By its class too: to a client that sent no password the server speaks of HELLO only.
    if type(error).__name__ == "AuthenticationError":
        where = REFUSED_LOGIN[0]
    kind, advice = next(
        ((kind, advice) for words, kind, advice in ERRORS if any(word in where for word in words)),
        ("it cannot be used", "Check {setting} and the server's own log."),
    )
    return problem(check, f"{kind}: {said}", advice.format(setting=setting))


def judge_server(check: str, facts: RedisFacts) -> Verdict:
    """Whether it can be worked with at all."""
    if facts.version < OLDEST_VERSION:
        return problem(check, f"it is {facts.name}", "Upgrade it: Redis 5 or newer is needed.")
    if facts.role != "master":
        return problem(
            check,
            f"it is a read-only replica ({facts.name})",
            "Give the primary's address: nothing can be taken here.",
        )
    if facts.last_write_failed or (facts.refusal or "").startswith("MISCONF"):
        return problem(
            check,
            f"{facts.name} cannot save to its disk" + (f": {facts.refusal}" if facts.refusal else ""),
            "Free its disk, or let it write there: it soon refuses writes, or loses them.",
        )
    if facts.refusal:
        remedy = (
            "Give it more memory, or find out why it is not drained."
            if facts.refusal.startswith("OOM") or "maxmemory" in facts.refusal
            else "Allow its user the commands and keys that deploy/README.md names."
        )
        return problem(check, f"{facts.name} refuses a script or a write: {facts.refusal}", remedy)
    return ok(check, f"{facts.name} answers")


def judge_claim_method(check: str, facts: RedisFacts) -> Verdict:
    """How elements are taken."""
    if facts.lacks:
        what = {
            "RENAME": "settled claims are not kept for a failover of the database",
            "SCAN": "claims that are in no register are not found",
        }
        return warning(
            check,
            f"its user may not {' and '.join(facts.lacks)}: {'; '.join(what[each] for each in facts.lacks)}",
            "Allow it the commands of deploy/redis-users.acl.",
        )
    if facts.version >= LMOVE_VERSION:
        return ok(check, "LMOVE in a script: a crash at any point loses nothing")
    return ok(check, "RPOPLPUSH in a script, as before Redis 6.2: a crash at any point loses nothing")


def judge_memory(check: str, facts: RedisFacts, whose: str) -> Verdict:
    """Whether it may throw away what it holds, and how near it is to being full.

    Args:
        check: the verdict's name.
        facts: what was seen.
        whose: what is lost by eviction, such as ``calls on the dialler's list``.
    """
    if facts.policy is None:
        return warning(
            check, "it does not say what it does when it is full", "See that maxmemory-policy is noeviction."
        )
    share = facts.used / facts.maxmemory if facts.maxmemory else 0.0
    room = (
        f"{size(facts.used)} used of {size(facts.maxmemory)}"
        if facts.maxmemory
        else f"{size(facts.used)} used, no limit"
    )
    if facts.policy.startswith("allkeys"):
        remedy = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf."
        if facts.maxmemory:
            return problem(
                check, f"maxmemory-policy is {facts.policy}: when full it throws away {whose} ({room})", remedy
            )
        return warning(
            check, f"maxmemory-policy is {facts.policy}; only the missing maxmemory keeps {whose} safe", remedy
        )
    if share > FULL_SHARE:
        return warning(check, f"it is nearly full: {room}", "Give it more memory, or find out why it is not drained.")
    return ok(check, f"maxmemory-policy {facts.policy}, {room}")


def judge_persistence(check: str, facts: RedisFacts, whose: str, remedy: str) -> Verdict:
    """What a restart of it costs."""
    if facts.aof:
        return ok(check, "append-only file: a crash loses a second at most")
    if facts.snapshots:
        return warning(check, f"snapshots only: a crash loses {whose} since the last one", remedy)
    if facts.aof is None or facts.snapshots is None:
        return warning(check, "no append-only file, and it does not say whether it takes snapshots", remedy)
    return warning(check, f"neither append-only file nor snapshots: a restart loses {whose}", remedy)


def judge_dedicated(check: str, broker: RedisFacts, dialler: RedisFacts | None) -> Verdict:
    """Whether the broker's Redis serves nobody else."""
    if dialler is not None and broker.run_id == dialler.run_id:
        return problem(
            check,
            "it is the dialler's own Redis",
            "Give the broker a Redis of its own in CELERY_BROKER_URL: the dialler's may be emptied, or fill up.",
        )
    if broker.strangers:
        return warning(
            check,
            f"others use it too: {', '.join(broker.strangers)}",
            "Give the broker a Redis of its own: others' load, eviction and FLUSHALL hit it here.",
        )
    return ok(check, "nobody else uses it")


def judge_broker_redis(facts: RedisFacts, dialler: RedisFacts | None) -> Iterator[Verdict]:
    """Everything about the broker's Redis."""
    yield judge_server("broker", facts)
    yield judge_dedicated("broker dedicated", facts, dialler)
    yield judge_memory("broker memory", facts, "queues and their bindings")
    yield judge_persistence(
        "broker persistence",
        facts,
        "waiting messages, which are then sent again after 10 s or more",
        "Set appendonly yes and appendfsync everysec, so that this stays rare.",
    )


def judge_dialler_redis(facts: RedisFacts) -> Iterator[Verdict]:
    """Everything about the dialler's Redis but the list itself."""
    yield judge_server("dialler redis", facts)
    yield judge_claim_method("claim method", facts)
    yield judge_memory("dialler memory", facts, "calls that wait on the list")
    yield judge_persistence(
        "dialler persistence",
        facts,
        "calls that wait on the list",
        "Ask the dialler's vendor to set appendonly yes; until then keep the ingestor running.",
    )
