"""What becomes of recordings after they ended: tried again, held, verified, deleted."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Text,
    and_,
    cast,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    update,
)

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.database.audit import record_action, telling
from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import calls, recording_verifications, recordings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import CTE, ColumnElement, Connection

    from pipeline.database.narrowing import Conditions

ENDED_WITHOUT_FILE = ("absent", "expired", "failed")
"""The states an operator may have tried again."""


class KeptFile(NamedTuple):
    """A stored recording and what identifies its bytes."""

    call_id: int
    source: str
    call_ref: str
    path: str
    size_bytes: int
    sha256: bytes


_KEPT = [recordings.c[name] for name in KeptFile._fields]


class Retried(NamedTuple):
    """What an operator's retry came to."""

    scheduled: int
    without_call_ref: int


def retry(
    connection: Connection,
    *,
    who: str,
    reason: str | None,
    states: Sequence[str] = ENDED_WITHOUT_FILE,
    call_ids: Sequence[int] | None = None,
    source: str | None = None,
    campaign: str | None = None,
    said: str | None = None,
) -> Retried:
    """Schedule recordings that ended without a file once more, as if for the first time.

    Args:
        connection: the database; all of it is one transaction.
        who: does it.
        reason: why, for the record.
        states: only those in one of these.
        call_ids: only these.
        source: only this dialler's.
        campaign: only of this campaign.
        said: only those whose reason contains this.
    """
    wanted = {"call_ids": call_ids, "source": source, "campaign": campaign, "said": said}
    chosen = _chosen(narrow({"states": states, **wanted}, _CONDITIONS))
    again = (
        update(recordings)
        .values(
            state="scheduled",
            due_at=func.now(),
            counts_from=func.now(),
            attempts=0,
            ended_at=None,
            released_at=None,
            releases=0,
            suspect=False,
            losses=0,
            reason="An operator had it tried again.",
        )
        .where(recordings.c.call_id == chosen.c.call_id, not_(chosen.c.nameless))
        .returning(recordings.c.call_id, chosen.c.state, chosen.c.reason, chosen.c.attempts)
        .cte("again")
    )
    told_of = {
        "was": again.c.state,
        "because": again.c.reason,
        "attempts": again.c.attempts,
        "reason": literal(reason, Text),
    }
    detail = func.jsonb_strip_nulls(func.jsonb_build_object(*chain.from_iterable(told_of.items())))
    told = telling(who, "recording retried", again.c.call_id, detail)
    counted = select(
        select(func.count()).select_from(again).scalar_subquery(),
        select(func.count()).select_from(chosen).where(chosen.c.nameless).scalar_subquery(),
    )
    return Retried(*connection.execute(counted.add_cte(told.cte("told"))).one())


_CONDITIONS: Conditions = {
    "states": lambda values: among(recordings.c.state, values),
    "call_ids": lambda values: among(recordings.c.call_id, values),
    "source": lambda value: recordings.c.source == value,
    "campaign": lambda value: exists().where(calls.c.id == recordings.c.call_id, calls.c.campaign_ref == value),
    "said": lambda value: func.strpos(recordings.c.reason, value) > 0,
}


def _chosen(conditions: Iterator[ColumnElement[bool]]) -> CTE:
    """Recordings to be tried again, locked, as they were; the nameless ones can not be asked for."""
    of = recordings.c
    nameless = func.starts_with(of.call_ref, NAMELESS, type_=Boolean).label("nameless")
    return (
        select(of.call_id, of.state, of.reason, of.attempts, nameless)
        .where(of.state.in_(ENDED_WITHOUT_FILE), *conditions)
        .with_for_update()
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )


def hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Keep a recording's file whatever its age; False when it was held already."""
    result = connection.execute(
        update(recordings)
        .values(held_at=func.now(), held_by=who)
        .where(recordings.c.call_id == call_id, recordings.c.held_at.is_(None))
    )
    if result.rowcount:
        _tell(connection, who, "recording held", call_id, reason)
    return bool(result.rowcount)


def end_hold(connection: Connection, call_id: int, *, who: str, reason: str | None) -> bool:
    """Let retention have a recording again; False when it was not held."""
    result = connection.execute(
        update(recordings)
        .values(held_at=None, held_by=None)
        .where(recordings.c.call_id == call_id, recordings.c.held_at.is_not(None))
    )
    if result.rowcount:
        _tell(connection, who, "recording hold released", call_id, reason)
    return bool(result.rowcount)


def now(connection: Connection) -> datetime:
    """The database's clock."""
    return connection.scalars(select(func.now())).one()


# SQL: it fills in what the hot path of older code left out, and reads the partial index of kept files alone.
_FILL_IN_DIALED_AT = text(
    "UPDATE recordings SET dialed_at = calls.dialed_at FROM calls "
    "WHERE state = 'stored' AND deleted_at IS NULL AND recordings.dialed_at IS NULL AND calls.id = call_id"
)


def take_expired(
    connection: Connection,
    *,
    older_than_days: int,
    limit: int,
    source: str | None = None,
    tried_before: datetime | None = None,
) -> list[KeptFile]:
    """Stored files past their retention and not held, locked until the end of the transaction.

    Args:
        connection: the caller's transaction.
        older_than_days: by when the calls were dialled.
        limit: the most to take.
        source: only this dialler's, for only its own workers have its store; None: all.
        tried_before: those that could not be deleted before then, longest ago first; None: those that were never tried,
            oldest call first.
    """
    # Rows that code older than the column stored. There are none of them soon, and then an index says so.
    connection.execute(_FILL_IN_DIALED_AT)
    of = recordings.c
    untried = tried_before is None
    tried = of.delete_tried_at.is_(None) if untried else of.delete_tried_at < tried_before
    rows = connection.execute(
        select(*_KEPT)
        .where(
            of.state == word("stored"),
            of.deleted_at.is_(None),
            of.held_at.is_(None),
            of.dialed_at < func.now() - func.make_interval(0, 0, 0, older_than_days),
            tried,
            *narrow({"source": source}, _CONDITIONS),
        )
        .order_by(of.dialed_at if untried else of.delete_tried_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [KeptFile(*row) for row in rows]


def mark_deleted(connection: Connection, call_ids: Sequence[int], *, reason: str) -> None:
    """Write down that files are gone."""
    connection.execute(
        update(recordings)
        .values(
            deleted_at=func.clock_timestamp(),
            deleted_reason=reason,
            verify_problem=None,
            delete_tried_at=None,
            delete_problem=None,
        )
        .where(among(recordings.c.call_id, call_ids))
    )


# SQL: thousands of rows in one statement of two parameters.
_MARK_UNDELETED = text(
    "UPDATE recordings SET delete_tried_at = clock_timestamp(), delete_problem = problem "
    "FROM unnest(cast(:ids AS bigint[]), cast(:problems AS text[])) AS tried (call_id, problem) "
    "WHERE recordings.call_id = tried.call_id"
)


def mark_undeleted(connection: Connection, problems: Sequence[tuple[int, str]]) -> None:
    """Write down which files could not be deleted, and why."""
    connection.execute(
        _MARK_UNDELETED,
        {"ids": [call_id for call_id, _ in problems], "problems": [problem for _, problem in problems]},
    )


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
    reason = f"{cleared} mark(s) of other diallers' files by older code were cleared" if cleared else None
    _tell(connection, who, "recordings verification begun", None, reason)
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
        select(*_KEPT)
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


def _tell(connection: Connection, who: str, action: str, call_id: int | None, reason: str | None) -> None:
    record_action(connection, who, action, None if reason is None else {"reason": reason}, record_id=call_id)
