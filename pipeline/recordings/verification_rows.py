"""The rows of a verification: which files are still to be read, and what reading them came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, and_, cast, exists, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on

from pipeline.database.audit import record_action
from pipeline.database.narrowing import word
from pipeline.database.tables import recording_verifications, recordings
from pipeline.recordings.retention_rows import KEPT, KeptFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection


class LastRun(NamedTuple):
    """A run of ``pipeline recordings verify``; instants are aware."""

    source: str
    who: str
    began_at: datetime
    ended_at: datetime | None
    """None: it is under way, or was interrupted."""


def last_verifications(connection: Connection) -> list[LastRun]:
    """The last run over each dialler's files; those of older code, which kept to no one dialler, are left out."""
    runs = recording_verifications.c
    rows = connection.execute(
        select(runs.source, runs.who, runs.began_at, runs.ended_at)
        .ext(distinct_on(runs.source))
        .where(runs.source.is_not(None))
        .order_by(runs.source, runs.id.desc())
    )
    return [LastRun(*row) for row in rows]


def begin_verification(
    connection: Connection, *, who: str, source: str, afresh: bool
) -> tuple[int, datetime, bool, int]:
    """The run over a dialler's files to go on with, or a new one.

    Returns its id, when it began, whether it had begun before, and how many wrong marks were cleared.
    """
    cleared = _clear_wrong_marks(connection, source)
    runs = recording_verifications
    # One of older code is of no one dialler, and nobody goes on with it.
    over = or_(runs.c.source.is_(None), runs.c.source == source) if afresh else runs.c.source.is_(None)
    connection.execute(
        update(recording_verifications).values(ended_at=func.now()).where(runs.c.ended_at.is_(None), over)
    )
    columns = (runs.c.id, runs.c.began_at)
    row = connection.execute(
        select(*columns).where(runs.c.ended_at.is_(None), runs.c.source == source).order_by(runs.c.id).limit(1)
    ).one_or_none()
    if row is not None:
        return row.id, row.began_at, True, cleared
    row = connection.execute(insert(recording_verifications).values(who=who, source=source).returning(*columns)).one()
    reason = f"{cleared} mark(s) of other diallers' files by older code were cleared"
    record_action(connection, who, "recordings verification begun", {"reason": reason} if cleared else None)
    return row.id, row.began_at, False, cleared


def _clear_wrong_marks(connection: Connection, source: str) -> int:
    """Forget what older code found of other diallers' files; returns how many it said differ.

    It read them all in the store of whoever ran it. Whose that was is not known, so they count as not verified until
    their own dialler's environment has. What it said of our own is written anew by this run.
    """
    runs = recording_verifications
    result = connection.execute(
        update(recordings)
        .values(verified_at=None, verify_problem=None)
        .where(
            recordings.c.source != source,
            recordings.c.verify_problem.is_not(None),
            exists().where(
                runs.c.source.is_(None),
                recordings.c.verified_at.between(runs.c.began_at, func.coalesce(runs.c.ended_at, func.now())),
            ),
        )
    )
    return int(result.rowcount)


def end_verification(connection: Connection, run_id: int) -> None:
    """The run has seen everything."""
    connection.execute(
        update(recording_verifications)
        .values(ended_at=func.clock_timestamp())
        .where(recording_verifications.c.id == run_id)
    )


def _unverified(source: str, began_at: datetime) -> ColumnElement[bool]:
    of = recordings.c
    return and_(
        of.source == source,
        of.state == word("stored"),
        of.deleted_at.is_(None),
        of.ended_at < began_at,
        or_(of.verified_at.is_(None), of.verified_at < began_at),
    )


def count_unverified(connection: Connection, *, source: str, began_at: datetime) -> tuple[int, int]:
    """How many of a dialler's files, and bytes, a run still has to read."""
    size_bytes = cast(func.coalesce(func.sum(recordings.c.size_bytes), 0), BigInteger)
    row = connection.execute(select(func.count(), size_bytes).where(_unverified(source, began_at))).one()
    return row[0], row[1]


def next_unverified(
    connection: Connection, *, source: str, began_at: datetime, after: int, limit: int
) -> list[KeptFile]:
    """A dialler's files that a run still has to read, in the order of their calls."""
    rows = connection.execute(
        select(*KEPT)
        .where(_unverified(source, began_at), recordings.c.call_id > after)
        .order_by(recordings.c.call_id)
        .limit(limit)
    )
    return [KeptFile(*row) for row in rows]


# SQL: thousands of rows in one statement of two parameters.
_MARK_VERIFIED = text(
    "UPDATE recordings SET verified_at = clock_timestamp(), verify_problem = problem "
    "FROM unnest(cast(:ids AS bigint[]), cast(:problems AS text[])) AS read (call_id, problem) "
    # Retention may have been faster: a file it deleted is not missing.
    "WHERE recordings.call_id = read.call_id AND deleted_at IS NULL"
)


def mark_verified(connection: Connection, results: Sequence[tuple[int, str | None]]) -> None:
    """Write down what reading files came to: for each call what is wrong, or nothing."""
    connection.execute(
        _MARK_VERIFIED,
        {"ids": [call_id for call_id, _ in results], "problems": [problem for _, problem in results]},
    )
