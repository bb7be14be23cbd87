"""The database: does it answer, are its tables those of this code, and can it go on?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import Verdict, first_line, ok, problem, size, unknown, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OLDEST_VERSION: Final = 140_000
LITTLE_SHARE: Final = 0.1
LITTLE_BYTES: Final = 1024**3
FULL_SHARE: Final = 0.9


class DatabaseFacts(NamedTuple):
    """What PostgreSQL says of itself."""

    version: str
    version_number: int
    read_only: bool
    encoding: str
    session_timezone: str
    knows_timezone: bool
    fsync: bool
    synchronous_commit: str
    connections: int
    """Of all users, to all databases."""
    max_connections: int
    """How many of them are for us: without those that are kept for superusers, unless we are one."""
    size_bytes: int
    disk_free: int | None = None
    """None: it is on another machine, or does not say where its data is."""
    disk_total: int | None = None
    standbys: int = 0
    """Servers that follow it, as far as we may see."""
    synchronous: bool = False
    """Whether a commit waits for one of them."""
    role: str = ""
    role_connections: int = 0
    role_limit: int = -1
    """The most that our user may have; -1: as many as there are. The same for our database."""
    database_connections: int = 0
    database_limit: int = -1
    collations: tuple[str, str] | None = None
    """The version of its collation when the database was made, and the one of the system now, where these differ."""


def judge_database_error(error: BaseException) -> Verdict:
    """Why the database cannot be used, from what the driver said."""
    said = first_line(error)
    low = said.lower()
    advice = {
        "no space left": "Free or enlarge the disk of its server.",
        "password authentication failed": "Correct the user and password in DATABASE_URL.",
        "no password supplied": "Put the password into DATABASE_URL.",
        "no pg_hba.conf entry": "Let this host and user in: pg_hba.conf of the server.",
        "role": "Create the role, or correct the user in DATABASE_URL.",
        "does not exist": "Create the database (createdb), or correct its name in DATABASE_URL.",
        "too many clients": "Raise max_connections; deploy/README.md says how many are needed.",
        "starting up": "Wait; the processes wait too.",
        "shutting down": "Start it again; the processes wait.",
        "permission denied": "Make its user the owner of the database, or grant what deploy/README.md names.",
        "resolve host": "Correct the host in DATABASE_URL.",
        "timeout": "Check the host in DATABASE_URL, the network and firewalls.",
        "refused": "Start PostgreSQL, or correct the host and port in DATABASE_URL.",
    }
    remedy = next((advice[words] for words in advice if words in low), "Check DATABASE_URL and the server's own log.")
    return problem("database", f"it cannot be used: {said}", remedy)


def judge_database(facts: DatabaseFacts, timezone: str) -> Iterator[Verdict]:
    """Everything but its tables."""
    yield _judge_server(facts)
    yield _judge_settings(facts, timezone)
    yield from _judge_standbys(facts)
    yield from _judge_collation(facts)
    yield _judge_connections(facts)
    yield _judge_disk(facts)


def _judge_server(facts: DatabaseFacts) -> Verdict:
    if facts.version_number < OLDEST_VERSION:
        return problem("database", f"it is PostgreSQL {facts.version}", "Upgrade it: 14 or newer is needed.")
    if facts.read_only:
        return problem(
            "database", "it takes no writes: a standby, or set to read-only", "Give the primary in DATABASE_URL."
        )
    return ok("database", f"PostgreSQL {facts.version} answers")


def _judge_settings(facts: DatabaseFacts, timezone: str) -> Verdict:
    check = "database settings"
    if facts.encoding != "UTF8":
        return problem(
            check,
            f"its encoding is {facts.encoding}, so that some names cannot be stored",
            "Create the database with ENCODING 'UTF8'.",
        )
    if facts.session_timezone != "UTC":
        return problem(
            check,
            f"our sessions get the time zone {facts.session_timezone}, not UTC",
            "A pooler between drops the options of a connection: let it pass them on, or use session pooling.",
        )
    if not facts.knows_timezone:
        return problem(
            check, f"it does not know PIPELINE_TIMEZONE {timezone}", "Install the server's time zone data (tzdata)."
        )
    if not facts.fsync or facts.synchronous_commit == "off":
        return warning(
            check,
            "it does not wait for its disk: a power cut loses calls that were taken off the dialler's list",
            "Set fsync on and synchronous_commit on, unless this is a trial.",
        )
    return ok(check, f"UTF8, sessions in UTC, {timezone} is known, commits reach the disk")


def _judge_standbys(facts: DatabaseFacts) -> Iterator[Verdict]:
    if facts.standbys and not facts.synchronous:
        yield warning(
            "database standbys",
            f"{facts.standbys} follow, and no commit waits for them: one that takes over may lack the last calls",
            "Set synchronous_standby_names; until then settled claims, which are kept for "
            "PIPELINE_KEEP_CLAIMS_SECONDS, bring those calls back.",
        )
    elif facts.standbys:
        yield ok("database standbys", f"{facts.standbys} follow, and commits wait for them")


def _judge_collation(facts: DatabaseFacts) -> Iterator[Verdict]:
    if facts.collations is not None:
        made, now = facts.collations
        yield warning(
            "database collation",
            f"texts were sorted by version {made} of its collation and the system has {now}: indexes may miss rows",
            "REINDEX DATABASE CONCURRENTLY, then ALTER DATABASE … REFRESH COLLATION VERSION.",
        )


def _judge_connections(facts: DatabaseFacts) -> Verdict:
    limits = [(facts.connections, facts.max_connections, "connections that we may have", "Raise max_connections")]
    if facts.role_limit >= 0:
        raise_it = f"ALTER ROLE {facts.role} CONNECTION LIMIT …"
        limits.append((facts.role_connections, facts.role_limit, f"of user {facts.role}", raise_it))
    if facts.database_limit >= 0:
        raise_it = "ALTER DATABASE … CONNECTION LIMIT …"
        limits.append((facts.database_connections, facts.database_limit, "of this database", raise_it))
    used = ", ".join(f"{used} of {most} {whose}" for used, most, whose, _ in limits) + " are in use"
    tight = [raise_it for used, most, _, raise_it in limits if used >= most * FULL_SHARE]
    if tight:
        return warning("database connections", used, f"{tight[-1]}, or find out who holds them.")
    return ok("database connections", used)


def _judge_disk(facts: DatabaseFacts) -> Verdict:
    check = "database disk"
    if facts.disk_free is None or facts.disk_total is None:
        return unknown(check, f"the database has {size(facts.size_bytes)}; watch the free disk of its server there")
    return judge_disk(
        check,
        facts.disk_free,
        facts.disk_total,
        f"the database has {size(facts.size_bytes)}",
        "Free or enlarge its disk.",
    )


def judge_disk(check: str, free: int, total: int, holds: str, remedy: str) -> Verdict:
    """Whether a disk is about to be full."""
    says = f"{holds}, {size(free)} of {size(total)} are free"
    if free < LITTLE_BYTES / 10:
        return problem(check, says, remedy)
    if free < LITTLE_BYTES or free < total * LITTLE_SHARE:
        return warning(check, says, remedy)
    return ok(check, says)


def judge_tables(current: str | None, newest: str | None, known: frozenset[str]) -> Verdict:
    """Whether the tables are those of this code.

    Args:
        current: the revision the database is at; None when it has no tables.
        newest: the newest revision this code knows.
        known: every revision this code knows.
    """
    check = "database tables"
    if current == newest:
        return ok(check, f"up to date, revision {current}")
    if current is None:
        return problem(check, "the database has no tables yet", "Run `pipeline db upgrade`.")
    if current not in known:
        return problem(
            check,
            f"they are at revision {current}, which this version does not know: a newer version made them",
            "Install that version here too.",
        )
    return problem(check, f"they are at revision {current}, this version needs {newest}", "Run `pipeline db upgrade`.")


def judge_tariff_zones(zones: Iterable[tuple[str, str | None]], timezone: str) -> Iterator[Verdict]:
    """Only where it is wrong: a tariff whose hours are read by another clock than this process's.

    Args:
        zones: each tariff that has hours or weekdays, with the zone it was loaded in; None before that was kept.
        timezone: PIPELINE_TIMEZONE.
    """
    check = "tariff time zone"
    for tariff, zone in zones:
        if zone is None:
            yield warning(
                check,
                f"tariff {tariff} does not say in which zone its hours are: each process reads them in its own",
                f"Load it again with PIPELINE_TIMEZONE {timezone}, if that is the one it was made for.",
            )
        elif zone != timezone:
            yield warning(
                check,
                f"tariff {tariff} was loaded in {zone} and is rated by that; PIPELINE_TIMEZONE is {timezone}",
                f"Set PIPELINE_TIMEZONE to {zone} here, or load the tariff again if its hours are meant in {timezone}.",
            )
