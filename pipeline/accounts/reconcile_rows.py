"""The rows of a reconciliation: runs, and the items of each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from pipeline.accounts.rules.reconciling import Item
from pipeline.database.audit import record_action
from pipeline.database.engine import copy_rows
from pipeline.database.tables import reconcile_items
from pipeline.errors import PipelineError, cut
from pipeline.lookup.rules.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection

_LOCK: Final = 1_919_247_219
"""An advisory lock of two keys, the other a provider's name: one run of a provider at a time."""


class NoSuchRunError(PipelineError):
    """There is no such run."""


class LockedRunError(PipelineError):
    """A run of that time is locked, or cannot be."""


class Wanted(NamedTuple):
    """What to reconcile."""

    provider: str
    since: datetime
    until: datetime
    """The first instant after the period."""
    zone: str
    """In which the period was said, an IANA name."""
    offset_seconds: int | None = None
    """How far the files' clock is ahead of ours; None: find it."""


class Run(NamedTuple):
    """A month of a provider's files against our calls."""

    id: int
    provider: str
    since: datetime
    until: datetime
    zone: str
    state: str
    """``done``; ``failed``: it does not add up; ``locked``: agreed upon."""
    rules: dict[str, Any]
    inputs: dict[str, Any]
    offsets: dict[str, Any]
    totals: dict[str, Any]
    problems: list[str]
    created_at: datetime
    created_by: str
    locked_at: datetime | None
    locked_by: str | None
    locked_because: str | None


_COLUMNS: Final = ", ".join(Run._fields)


def alone(connection: Connection, provider: str) -> None:
    """Wait until nobody else reconciles or locks a provider, and keep others from it to the transaction's end."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:provider))"), {"lock": _LOCK, "provider": provider}
    )


def check_unlocked(connection: Connection, provider: str, since: datetime, until: datetime) -> None:
    """Whether a period may be reconciled again.

    Raises:
        LockedRunError: some of it is locked.
    """
    row = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM reconcile_runs WHERE provider = :provider AND state = 'locked' "
            "AND since < :until AND until > :since LIMIT 1"
        ),
        {"provider": provider, "since": since, "until": until},
    ).one_or_none()
    if row is not None:
        locked = Run(*row)
        raise LockedRunError(
            f"run {locked.id} of {cut(provider)} is locked by {locked.locked_by}: {cut(locked.locked_because or '')}. "
            "What was agreed upon stays; a correction belongs in the next period"
        )


def insert_run(connection: Connection, wanted: Wanted, who: str) -> int:
    """Begin a run, which is failed until `finish` says otherwise; returns its id."""
    return int(
        connection.execute(
            text(
                "INSERT INTO reconcile_runs (provider, since, until, zone, state, rules, inputs, offsets, totals, "
                "  problems, created_by) "
                "VALUES (:provider, :since, :until, :zone, 'failed', '{}', '{}', '{}', '{}', '{}', :who) RETURNING id"
            ),
            {
                "provider": wanted.provider,
                "since": wanted.since,
                "until": wanted.until,
                "zone": wanted.zone,
                "who": who,
            },
        ).scalar_one()
    )


def insert_items(connection: Connection, run_id: int, items: Iterable[Item]) -> None:
    """Write the items of a run, in their order; a line or a call that has one already is refused by the database."""
    copy_rows(
        connection,
        reconcile_items,
        ("run_id", "item", *Item._fields),
        ((run_id, number, *item) for number, item in enumerate(items, start=1)),
    )


def finish(
    connection: Connection,
    run_id: int,
    *,
    rules: Mapping[str, Any],
    inputs: Mapping[str, Any],
    offsets: Mapping[str, Any],
    totals: Mapping[str, Any],
    problems: list[str],
) -> None:
    """Write down what a run came to: it is done when nothing is wrong with it."""
    values = {"rules": rules, "inputs": inputs, "offsets": offsets, "totals": totals}
    connection.execute(
        text(
            "UPDATE reconcile_runs SET state = :state, problems = :problems, "
            + ", ".join(f"{name} = cast(:{name} AS jsonb)" for name in values)
            + " WHERE id = :id"
        ),
        {name: json.dumps(value, default=plain) for name, value in values.items()}
        | {"id": run_id, "state": "failed" if problems else "done", "problems": problems},
    )


def replace_earlier(connection: Connection, run: Run, who: str) -> int:
    """Take away the runs that another of the same period takes the place of; returns how many.

    One that failed takes the place of such alone.
    """
    gone = connection.scalars(
        text(
            "SELECT id FROM reconcile_runs WHERE provider = :provider AND since = :since AND until = :until "
            "AND id < :id AND state <> 'locked' AND (:state <> 'failed' OR state = 'failed')"
        ),
        {"provider": run.provider, "since": run.since, "until": run.until, "id": run.id, "state": run.state},
    ).all()
    for run_id in gone:
        connection.execute(text("DELETE FROM reconcile_items WHERE run_id = :id"), {"id": run_id})
        connection.execute(text("DELETE FROM reconcile_runs WHERE id = :id"), {"id": run_id})
        detail = {"run": run_id, "replaced_by": run.id, "provider": run.provider}
        record_action(connection, who, "reconciliation replaced", detail)
    return len(gone)


def run_by_id(connection: Connection, run_id: int) -> Run:
    """A run.

    Raises:
        NoSuchRunError: there is none, or no longer.
    """
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM reconcile_runs WHERE id = :id"), {"id": run_id}
    ).one_or_none()
    if row is None:
        raise NoSuchRunError(f"there is no run {run_id}: `pipeline reconcile list` has those that there are")
    return Run(*row)


def runs(
    connection: Connection,
    *,
    provider: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Run]:
    """Runs, the newest first.

    Args:
        connection: the database.
        provider: of one; None: of all.
        since: that begin then; None: whenever.
        until: that end then; None: whenever.
    """
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM reconcile_runs WHERE (cast(:provider AS text) IS NULL OR provider = :provider) "
            "AND (cast(:since AS timestamptz) IS NULL OR since = :since) "
            "AND (cast(:until AS timestamptz) IS NULL OR until = :until) ORDER BY id DESC"
        ),
        {"provider": provider, "since": since, "until": until},
    )
    return [Run(*row) for row in rows]


def lock_run(connection: Connection, run_id: int, *, who: str, because: str) -> Run:
    """Freeze a run: no other of its period takes its place, and its files cannot be withdrawn.

    Raises:
        NoSuchRunError: there is none.
        LockedRunError: it is locked, some of its period is, or it does not add up.
    """
    run = run_by_id(connection, run_id)
    alone(connection, run.provider)
    run = run_by_id(connection, run_id)
    if run.state == "failed":
        raise LockedRunError(f"run {run_id} does not add up, so it cannot be locked: {'; '.join(run.problems)}")
    check_unlocked(connection, run.provider, run.since, run.until)
    files = [each["id"] for each in run.inputs["files"]]
    held = text("SELECT id FROM provider_files WHERE id = ANY(:files) AND state = 'loaded' FOR SHARE")
    if len(connection.scalars(held, {"files": files}).all()) < len(files):
        raise LockedRunError(f"a file of run {run_id} was withdrawn since: run it again, and lock that")
    connection.execute(
        text(
            "UPDATE reconcile_runs SET state = 'locked', locked_at = now(), locked_by = :who, "
            "locked_because = :because WHERE id = :id"
        ),
        {"id": run_id, "who": who, "because": because},
    )
    detail = {"run": run_id, "provider": run.provider, "since": run.since.isoformat(), "reason": because}
    record_action(connection, who, "reconciliation locked", detail)
    return run_by_id(connection, run_id)


def locking_run(connection: Connection, file_id: int) -> int | None:
    """The locked run that a file is part of, so that it must not be withdrawn; None: there is none."""
    found = text(
        "SELECT id FROM reconcile_runs WHERE state = 'locked' "
        "AND inputs -> 'files' @> jsonb_build_array(jsonb_build_object('id', cast(:file AS bigint))) LIMIT 1"
    )
    run_id = connection.scalar(found, {"file": file_id})
    return None if run_id is None else int(run_id)


def locked_files(connection: Connection) -> frozenset[int]:
    """The ids of the files that a locked run was made of, which must not be withdrawn."""
    found = connection.scalars(
        text(
            "SELECT DISTINCT (each ->> 'id')::bigint FROM reconcile_runs, "
            "jsonb_array_elements(inputs -> 'files') AS each WHERE state = 'locked'"
        )
    )
    return frozenset(found)
