"""Who may do what in the database: a role for each kind of process, which can do its work and nothing else.

The owner of the tables makes and migrates them, and runs the commands that change something. A process needs none of
that: an ingestor that was taken over cannot read a charge, and Flower cannot write one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.batches.rules.steps import MARK
from pipeline.database.tables import archive_parts, ledger, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from sqlalchemy import Connection

HUSHED = ("subscriber_secrets",)
"""For nobody but the owner and whoever delivers."""
OF_MIGRATIONS = ("alembic_version",)
"""Which version the tables are of: whoever looks after a process asks as its role."""
ALL = (*(name for name in metadata.tables if name not in HUSHED), *OF_MIGRATIONS)
SIGNS_OF_LIFE = ("heartbeats",)
"""Whoever works leaves one."""

COMPLETENESS = (
    *("counting_marks", "counted_batches", "campaign_counts", "counter_readings", "findings", "witnesses"),
    *("campaign_looks", "contact_looks", "api_halts", "missing_calls", "answered_seconds"),
    "missing_lines",
)
"""What is written by whoever compares."""

GRANTS_LOCK = 712_004_312
"""An advisory lock; any number will do that nobody else here takes."""


class Role(NamedTuple):
    """What a role may do, by table; a right on some columns only is written as in SQL."""

    rights: Mapping[str, tuple[str, ...]]
    functions: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    """Those it counts by that are another table's."""
    waits_for_steps: bool = False
    """Whether it takes the locks of steps."""


_REOPENED = ", ".join((*MARK.values(), "finished_at", "due_at", "resends", "reopened_at"))
_FED = "kind, source, batch_id, call_id, revision, left_out, named"
_DELIVERED = (
    "state, state_since, state_reason, position, place, leased_by, leased_until, misses, due_at, last_error, "
    "last_error_at, delivered, filtered, refused, delivered_at, hole_from, hole_to"
)
_COUNTED = "counted_from, counted_from_place, counted_before, missed"
_LINE = ", ".join(column.name for column in ledger.columns if column.name != "entered_at")
_SAID = "who, action, record_id, detail"
_HEARD = "who, via, action, address, reason, call_id, source, call_ref, detail"
_PART = ", ".join(column.name for column in archive_parts.columns if column.name != "replaced_at")
_SIGN = {"INSERT (name, source, who)": SIGNS_OF_LIFE, "UPDATE (who, at)": SIGNS_OF_LIFE}

# Where it can be, a right is one on columns: what the database fills in by itself, such as an instant or who is logged
# in, cannot be given then, and a whole table cannot be locked.
ROLES = {
    "cdr_ingest": Role(  # ingestor
        {
            "SELECT": ("batches", "stops", "import_chunks", *SIGNS_OF_LIFE, *OF_MIGRATIONS),
            "SELECT (record_id, step, class)": ("failures",),
            "INSERT": ("inbox",),
            "INSERT (claim, source, records, due_at)": ("batches",),
            "INSERT (source, kind, reason)": ("stops",),
            "INSERT (kind, source, batch_id)": ("feed",),
            **_SIGN,
        },
    ),
    "cdr_work": Role(  # worker and recordings
        {
            "SELECT": (*ALL, *HUSHED),
            "INSERT": (
                *(
                    "calls",
                    "call_keys",
                    "duplicates",
                    "dispositions",
                    "uncharged",
                    "recordings",
                    "failures",
                    "probes",
                    "conflicts",
                ),
                *("recording_pauses", "recording_pace", "recording_stores", "feed_refusals", "contacts"),
                *("replay_refusals", *COMPLETENESS),
            ),
            f"INSERT ({_LINE})": ("ledger",),
            f"INSERT ({_FED})": ("feed",),
            "UPDATE (position)": ("feed",),
            f"UPDATE ({_DELIVERED}, {_COUNTED})": ("subscribers",),
            f"UPDATE ({_DELIVERED})": ("replays",),
            f"INSERT ({_SAID})": ("actions",),
            "UPDATE": (
                *("recordings", "failures", "probes", "recording_pauses", "recording_pace", "recording_stores"),
                *("conflicts", "feed_refusals", "contacts", *COMPLETENESS),
            ),
            f"UPDATE ({_REOPENED})": ("batches",),
            "UPDATE (looked_at, done, last_id, moved_at, ended_at)": ("bulk_actions",),
            # What was archived stays written down: a part that another took the place of is marked.
            f"INSERT ({_PART})": ("archive_parts",),
            "UPDATE (replaced_at)": ("archive_parts",),
            "DELETE": ("probes", "recording_pauses", "feed", "feed_refusals", "counted_batches", "counter_readings"),
            **_SIGN,
        },
        # Both look for somebody who has asked for it.
        # The third looks whether the call was pulled, the fourth whether there is no call yet and a number was erased,
        # the last whether what it deletes is older than it is kept.
        functions=(
            "accept_conflict_in_bulk(bigint, bigint)",
            "edit_in_bulk(bigint, bigint, bytea)",
            "replace_pulled(bigint, jsonb)",
            "redact_records(bigint[], integer[], bytea[])",
            "make_ranges(integer)",
            "expire_access_log(integer)",
        ),
        sequences=("failures_id_seq",),
        waits_for_steps=True,
    ),
    "cdr_flower": Role(  # flower
        {
            "SELECT": ALL,
            f"INSERT ({_SAID})": ("actions",),
            f"INSERT ({_HEARD})": ("access_log",),
            "INSERT (action, wanted, who, reason, total)": ("bulk_actions",),
            "INSERT (record_id, revision, raw, edited_by)": ("edits",),
            f"INSERT ({_FED})": ("feed",),
            "UPDATE (state, retry_at)": ("failures",),
            "UPDATE (state)": ("feed_refusals",),
            # Paused and resumed; no cursor is moved, so nothing is passed over.
            "UPDATE (state, state_since, state_reason, misses, due_at, last_error)": ("subscribers",),
            f"UPDATE ({_REOPENED})": ("batches",),
            "DELETE": ("probes",),
        },
        # Accepting a conflict replaces a call and takes its charge back: all of it by the function.
        functions=("accept_conflict(bigint, text)",),
        waits_for_steps=True,
    ),
    "cdr_api": Role(  # api
        {
            "SELECT": (
                *("calls", "dispositions", "ledger", "uncharged", "recordings", "failures", "duplicates", "revisions"),
                *("batches", "actions", "tariffs", "tariff_versions", "api_tokens", "contacts", "feed", "inbox"),
                "archive_parts",
            ),
            # It may not read who else heard what.
            f"INSERT ({_HEARD})": ("access_log",),
        },
    ),
    "cdr_read": Role({"SELECT": ALL}),  # beat, reports, KEDA
}

FUNCTIONS = (
    "accept_conflict(bigint, text)",
    "accept_conflict_in_bulk(bigint, bigint)",
    "edit_in_bulk(bigint, bigint, bytea)",
    "replace_pulled(bigint, jsonb)",
    "redact_records(bigint[], integer[], bytea[])",
    "make_ranges(integer)",
    "expire_access_log(integer)",
    "reverse_charge_of_conflict(bigint, bigint, text)",
)
"""What acts with the owner's rights. The last is of a version before, and nobody's any more."""

# Locks by number are open to whoever may log in, and the numbers of steps are no secret. The functions that take them
# belong to the server's superuser, so only one can close them.
_ADVISORY = "proname ~ '^pg_(try_)?advisory_.*lock' AND pronamespace = 'pg_catalog'::regnamespace"
_CLOSE_LOCKS = """
DO $$
DECLARE
    taken record;
    owner name := (SELECT tableowner FROM pg_tables WHERE schemaname = {schema} AND tablename = 'batches');
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE NOTICE 'only a superuser can keep other users from taking advisory locks';
        RETURN;
    END IF;
    FOR taken IN SELECT oid::regprocedure::text AS lock FROM pg_proc WHERE {advisory} LOOP
        EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || taken.lock || ' FROM PUBLIC';
        EXECUTE 'GRANT EXECUTE ON FUNCTION ' || taken.lock || ' TO {names}, ' || quote_ident(owner);
    END LOOP;
END
$$"""


def statements(database: str, schema: str = "public", *, prefix: str = "") -> Iterator[str]:
    """The SQL that makes the roles and gives them what they need and no more; to the same effect however often.

    Args:
        database: the database's name.
        schema: where the tables are.
        prefix: of the roles' names, which the databases of a server share; letters, digits and underscores.
    """
    for role in names(prefix):
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
        )
    yield from grants(database, schema, prefix=prefix)
    yield _CLOSE_LOCKS.format(
        schema=_literal(schema),
        advisory=_ADVISORY,
        names=", ".join(prefix + role for role, may in ROLES.items() if may.waits_for_steps),
    )


def names(prefix: str = "") -> list[str]:
    """The roles' names."""
    return [prefix + role for role in ROLES]


def grants(
    database: str, schema: str = "public", *, prefix: str = "", roles: Collection[str] = tuple(ROLES)
) -> Iterator[str]:
    """The SQL that gives roles what they need and no more.

    Args:
        database: the database's name.
        schema: where the tables are.
        prefix: of the roles' names.
        roles: those that are there.
    """
    all_of_them = ", ".join(prefix + role for role in roles)
    yield f"REVOKE CREATE ON SCHEMA {_quoted(schema)} FROM PUBLIC"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {_quoted(schema)} FROM {all_of_them}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {_quoted(schema)} FROM {all_of_them}"
    for function in FUNCTIONS:
        # A copy that was restored without privileges lets anybody run them.
        yield f"REVOKE ALL ON FUNCTION {_quoted(schema)}.{function} FROM PUBLIC, {all_of_them}"
    yield f"GRANT CONNECT, TEMPORARY ON DATABASE {_quoted(database)} TO {all_of_them}"
    yield f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {all_of_them}"
    for role, may in ROLES.items():
        if role not in roles:
            continue
        for right, tables in may.rights.items():
            known = ", ".join(f"{_quoted(schema)}.{table}" for table in tables)
            yield f"GRANT {right} ON {known} TO {prefix}{role}"
        for sequence in may.sequences:
            yield f"GRANT USAGE ON SEQUENCE {_quoted(schema)}.{sequence} TO {prefix}{role}"
        for function in may.functions:
            yield f"GRANT EXECUTE ON FUNCTION {_quoted(schema)}.{function} TO {prefix}{role}"


def apply_roles(connection: Connection, *, prefix: str = "") -> bool:
    """Make the roles and give them their rights; whoever does it owns the tables and may make roles.

    Args:
        connection: the owner's.
        prefix: of the roles' names.

    Returns:
        Whether a user that only reads is kept from the locks of steps: a superuser sees to that.
    """
    _run(connection, statements, prefix)
    return not connection.scalar(
        text("SELECT has_function_privilege(:role, 'pg_advisory_lock(bigint)', 'EXECUTE')"),
        {"role": f"{prefix}cdr_read"},
    )


def renew_grants(connection: Connection) -> bool:
    """Give the roles what a new version needs, where some have rights here; whether some have.

    Of the roles of a server only those are this database's that may read it already, whatever their prefix. A role that
    is new in this version is not there before somebody runs `pipeline db roles --apply`; the others get theirs all the
    same.
    """
    found = set(connection.scalars(text(_READERS)))
    ours = [name.removesuffix("cdr_read") for name in sorted(found) if name.endswith("cdr_read")]
    complete = [prefix for prefix in ours if found.issuperset(prefix + role for role in _FROM_THE_BEGINNING)]
    for prefix in complete:
        there = [role for role in ROLES if prefix + role in found]
        _run(connection, functools.partial(grants, roles=there), prefix)
    return bool(complete)


_FROM_THE_BEGINNING = ("cdr_ingest", "cdr_work", "cdr_flower", "cdr_read")
"""The roles of the first version: a deployment that has some has all of them."""


_READERS = (
    "SELECT rolname FROM pg_class, aclexplode(relacl) AS may, pg_roles "
    "WHERE pg_class.oid = to_regclass('batches') AND pg_roles.oid = may.grantee AND privilege_type = 'SELECT'"
)


def _run(connection: Connection, make: Callable[..., Iterator[str]], prefix: str) -> None:
    # Two at once would change the same rows of the catalogue, which PostgreSQL refuses.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": GRANTS_LOCK})
    where = connection.execute(text("SELECT current_database(), current_schema()")).one()
    for statement in make(*where, prefix=prefix):
        connection.execute(text(statement))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
