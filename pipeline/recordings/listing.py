"""Recordings as an operator asks for them: counted, listed, missing."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, and_, case, cast, func, not_, or_, select, text

from pipeline.database.narrowing import among, is_set, narrow
from pipeline.database.tables import calls, dispositions, recordings
from pipeline.recordings.queue import IN_FLIGHT
from pipeline.recordings.rows import WAITING
from pipeline.recordings.rules.row import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from pipeline.database.narrowing import Conditions


def recordings_by_state(connection: Connection) -> dict[str, int]:
    """How many recordings are in each state; reads an index of all of them, so ask seldom."""
    state = recordings.c.state
    rows = connection.execute(select(state, func.count()).group_by(state).order_by(state))
    return {row[0]: row[1] for row in rows}


class RecordingFilter(NamedTuple):
    """Which recordings; a field that is None leaves nothing out."""

    states: Sequence[str] | None = None
    source: str | None = None
    campaign: str | None = None
    call_ref: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    said: str | None = None
    held: bool | None = None
    differs: bool | None = None
    deleted: bool | None = None
    undeleted: bool | None = None

    def conditions(self) -> Iterator[ColumnElement[bool]]:
        """Only what narrows is in them, so that the indexes are used."""
        return narrow(self._asdict(), _CONDITIONS)


_CONDITIONS: Conditions = {
    "states": lambda values: among(recordings.c.state, values),
    "source": lambda value: calls.c.source == value,
    "campaign": lambda value: calls.c.campaign_ref == value,
    "call_ref": lambda value: calls.c.call_ref == value,
    "since": lambda instant: calls.c.dialed_at >= instant,
    "until": lambda instant: calls.c.dialed_at < instant,
    "said": lambda value: func.strpos(recordings.c.reason, value) > 0,
    "held": lambda value: is_set(recordings.c.held_at, value),
    "differs": lambda value: is_set(recordings.c.verify_problem, value),
    "deleted": lambda value: is_set(recordings.c.deleted_at, value),
    "undeleted": lambda value: is_set(recordings.c.delete_problem, value),
}


_OF_THE_CALL = {"source", "call_ref", "campaign_ref", "dialed_at"}

_SHOWN = select(*((calls if each.name in _OF_THE_CALL else recordings).c[each.name] for each in fields(Recording)))


def list_recordings(connection: Connection, wanted: RecordingFilter, *, limit: int) -> list[Recording]:
    """The newest recordings that match."""
    rows = connection.execute(
        _SHOWN.join_from(recordings, calls, calls.c.id == recordings.c.call_id)
        .where(*wanted.conditions())
        .order_by(recordings.c.call_id.desc())
        .limit(limit)
    )
    return [Recording(*row) for row in rows]


class MissingRecording(NamedTuple):
    """An answered call without a stored recording, and why; instants are aware."""

    call_id: int
    source: str
    call_ref: str
    campaign_ref: str
    dialed_at: datetime
    talk_seconds: int
    state: str
    reason: str
    attempts: int
    due_at: datetime | None


_IS_DELETED = recordings.c.deleted_at.is_not(None)

_MISSING = select(
    calls.c.id,
    calls.c.source,
    calls.c.call_ref,
    calls.c.campaign_ref,
    calls.c.dialed_at,
    calls.c.talk_seconds,
    case((_IS_DELETED, "deleted"), else_=func.coalesce(recordings.c.state, "none")),
    case(
        (_IS_DELETED, recordings.c.deleted_reason),
        (recordings.c.call_id.is_not(None), func.coalesce(recordings.c.reason, "It was not tried yet.")),
        (dispositions.c.can_have_audio, "It is not scheduled yet: its batch is on its way."),
        else_="The dialler records no such call.",
    ),
    func.coalesce(recordings.c.attempts, 0),
    recordings.c.due_at,
)


def list_missing(
    connection: Connection, wanted: RecordingFilter, *, ended: bool, limit: int, with_deleted: bool = False
) -> tuple[list[MissingRecording], int]:
    """Answered calls without a stored recording, newest first, each with the reason; and how many there are in all.

    Args:
        connection: the database.
        wanted: which calls; states are not looked at.
        ended: only those for which nothing more is tried.
        limit: the most to list.
        with_deleted: also those that were stored until retention deleted them.
    """
    state = recordings.c.state
    is_missing = state.is_distinct_from("stored")
    conditions = [
        dispositions.c.disposition == "answered",
        or_(is_missing, _IS_DELETED) if with_deleted else is_missing,
        *wanted._replace(states=None).conditions(),
    ]
    if ended:
        none_comes = and_(state.is_(None), not_(dispositions.c.can_have_audio))
        conditions.append(or_(state.not_in(("scheduled", "downloading")), none_comes))
    missing = (
        _MISSING.select_from(calls)
        .join(dispositions, dispositions.c.call_id == calls.c.id)
        .outerjoin(recordings, recordings.c.call_id == calls.c.id)
        .where(*conditions)
    )
    rows = connection.execute(missing.order_by(calls.c.id.desc()).limit(limit))
    found = [MissingRecording._make(row) for row in rows]
    if len(found) < limit:
        return found, len(found)
    return found, connection.scalars(missing.with_only_columns(func.count())).one()


class Queue(NamedTuple):
    """One dialler's recordings: how many are in each state, under way and due, and what needs looking at."""

    source: str
    scheduled: int
    downloading: int
    stored: int
    absent: int
    expired: int
    failed: int
    stored_bytes: int
    due: int
    oldest_due_at: datetime | None
    in_flight: int
    not_begun: int
    held: int
    deleted: int
    differing: int
    undeleted: int
    last_stored_at: datetime | None


def queue_status(connection: Connection) -> list[Queue]:
    """Each dialler: recordings by state, what is under way and due, and what needs looking at."""
    of = recordings.c
    is_due = and_(text(WAITING), of.due_at <= func.now())
    rows = connection.execute(
        select(
            of.source,
            *(
                func.count().filter(of.state == state)
                for state in ("scheduled", "downloading", "stored", "absent", "expired", "failed")
            ),
            cast(func.coalesce(func.sum(of.size_bytes).filter(of.deleted_at.is_(None)), 0), BigInteger),
            func.count().filter(is_due),
            func.min(of.due_at).filter(is_due),
            func.count().filter(text(IN_FLIGHT)),
            func.count().filter(of.state == "scheduled", of.releases > 1),
            func.count().filter(of.held_at.is_not(None)),
            func.count().filter(of.deleted_at.is_not(None)),
            func.count().filter(of.verify_problem.is_not(None)),
            func.count().filter(of.delete_problem.is_not(None)),
            func.max(of.ended_at).filter(of.state == "stored"),
        )
        .group_by(of.source)
        .order_by(of.source)
    )
    return [Queue(*row) for row in rows]


def calls_of(connection: Connection, call_refs: Sequence[str], source: str | None) -> dict[str, list[tuple[str, int]]]:
    """The calls of references that have a recording's row: by reference, each dialler and call."""
    rows = connection.execute(
        select(calls.c.call_ref, calls.c.source, calls.c.id)
        .join_from(calls, recordings, recordings.c.call_id == calls.c.id)
        .where(among(calls.c.call_ref, call_refs), *narrow({"source": source}, _CONDITIONS))
        .order_by(calls.c.source)
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        found.setdefault(row.call_ref, []).append((row.source, row.id))
    return found


class StateOfRecording(NamedTuple):
    """Where one recording is; instants are aware."""

    state: str
    deleted_at: datetime | None
    deleted_reason: str | None
    call_ref: str
    held_at: datetime | None


def state_of(connection: Connection, call_id: int) -> StateOfRecording:
    """Where one recording is."""
    columns = (recordings.c[name] for name in StateOfRecording._fields)
    return StateOfRecording(*connection.execute(select(*columns).where(recordings.c.call_id == call_id)).one())
