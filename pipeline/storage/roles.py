"""Who may do what in the database: a role for each kind of process, which can do its work and nothing else.

The owner of the tables makes and migrates them, and runs the commands that change something. A process needs none of
that: an ingestor that was taken over cannot read a charge, and Flower cannot write one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.storage.models import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection

ALL = tuple(metadata.tables)
SIGNS_OF_LIFE = ("heartbeats",)
"""Whoever works leaves one."""

GRANTS_LOCK = 712_004_312
"""An advisory lock; any number will do that nobody else here takes."""


class Role(NamedTuple):
    """What a role may do, by table; a right on some columns only is written as in SQL."""

    what_for: str
    rights: Mapping[str, tuple[str, ...]]
    functions: tuple[str, ...] = ()


_REOPENED = (
    "normalized_at, classified_at, billed_at, recordings_scheduled_at, finished_at, due_at, resends, reopened_at"
)

ROLES = {
    "cdr_ingest": Role(
        "ingestor",
        {
            "SELECT": ("batches", "stops", *SIGNS_OF_LIFE),
            "SELECT (record_id, step, class)": ("failures",),
            "INSERT": ("batches", "inbox", "stops", *SIGNS_OF_LIFE),
            "UPDATE": SIGNS_OF_LIFE,
        },
    ),
    "cdr_work": Role(
        "worker and recordings",
        {
            "SELECT": ALL,
            "INSERT": (
                *("calls", "duplicates", "dispositions", "ledger", "uncharged", "recordings", "failures", "probes"),
                *("recording_pauses", "recording_pace", "actions", *SIGNS_OF_LIFE),
            ),
            "UPDATE": (
                *("batches", "recordings", "failures", "probes", "recording_pauses", "recording_pace"),
                *("bulk_actions", *SIGNS_OF_LIFE),
            ),
            "DELETE": ("probes", "recording_pauses"),
        },
    ),
    "cdr_flower": Role(
        "flower",
        {
            "SELECT": ALL,
            "INSERT": ("actions", "bulk_actions", "edits", "revisions"),
            "UPDATE (state, retry_at)": ("failures",),
            f"UPDATE ({_REOPENED})": ("batches",),
            # Accepting a conflict replaces a call; its charge is taken back by the function.
            "UPDATE": ("calls",),
            "DELETE": ("dispositions", "uncharged", "probes"),
        },
        ("reverse_charge_of_conflict(bigint, bigint, text)",),
    ),
    "cdr_read": Role("beat, reports, KEDA", {"SELECT": ALL}),
}


def statements(database: str, schema: str = "public") -> Iterator[str]:
    """The SQL that makes the roles and gives them what they need and no more; to the same effect however often.

    Args:
        database: the database's name.
        schema: where the tables are.
    """
    for role in ROLES:
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
        )
    yield from grants(database, schema)


def grants(database: str, schema: str = "public") -> Iterator[str]:
    """The SQL that gives roles, which are there, what they need and no more."""
    names = ", ".join(ROLES)
    yield f"REVOKE CREATE ON SCHEMA {_quoted(schema)} FROM PUBLIC"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {_quoted(schema)} FROM {names}"
    yield f"GRANT CONNECT, TEMPORARY ON DATABASE {_quoted(database)} TO {names}"
    yield f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {names}"
    for role, may in ROLES.items():
        for right, tables in may.rights.items():
            known = ", ".join(f"{_quoted(schema)}.{table}" for table in tables)
            yield f"GRANT {right} ON {known} TO {role}"
        for function in may.functions:
            yield f"GRANT EXECUTE ON FUNCTION {_quoted(schema)}.{function} TO {role}"


def apply_roles(connection: Connection) -> None:
    """Make the roles and give them their rights; whoever does it owns the tables and may make roles."""
    _run(connection, statements)


def renew_grants(connection: Connection) -> bool:
    """Give the roles what a new version needs, where there are roles; whether there are."""
    found = connection.scalar(
        text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(cast(:names AS text[]))"), {"names": list(ROLES)}
    )
    if found != len(ROLES):
        return False
    _run(connection, grants)
    return True


def _run(connection: Connection, make: Callable[[str, str], Iterator[str]]) -> None:
    # Two at once would change the same rows of the catalogue, which PostgreSQL refuses.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": GRANTS_LOCK})
    where = connection.execute(text("SELECT current_database(), current_schema()")).one()
    for statement in make(*where):
        connection.execute(text(statement))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
