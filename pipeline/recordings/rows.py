"""The rows of ``recordings``: scheduled by the batch, taken when due, leased, settled by the lease's holder.

All times are the database's, so that machines whose clocks differ agree on what is due.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Double, and_, case, cast, exists, extract, func, not_, or_, select, text, update

from pipeline.database.feed_log import tell
from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls, recording_pauses, recordings
from pipeline.recordings.rules.outcome import LOST_AT_MOST, LOST_WAIT_SECONDS, RecordingState, may_move

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from pipeline.database.narrowing import Conditions
    from pipeline.recordings.rules.outcome import Decision

TAKEN_BACK = "The worker that was downloading it stopped before it was done; it is tried again."
LOST_TOO_OFTEN = (
    f"{LOST_AT_MOST} workers in a row stopped while they were downloading it; it is taken for the cause, and not tried "
    "again by itself."
)

WAITING = "state IN ('scheduled', 'downloading')"

LONGEST_REDISPATCH = 20
"""A message that nobody begins is repeated ever less often, at last after so many times the first wait."""

_SCHEDULED, _DOWNLOADING = RecordingState.SCHEDULED.value, RecordingState.DOWNLOADING.value
_NOT_SENT = {"released_at": None, "releases": 0}

_HELD_UP = exists().where(
    recording_pauses.c.source == recordings.c.source,
    recording_pauses.c.probe_call_id.is_distinct_from(recordings.c.call_id),
)

_OF_A_MESSAGE: Conditions = {
    "sent": lambda instant: and_(or_(recordings.c.tried_at.is_(None), recordings.c.tried_at < instant), not_(_HELD_UP))
}
"""A message is good for one try, and held up by a pause."""


class DueRecording(NamedTuple):
    """What a download's message carries.

    A message is good for one try: ``dispatched_at`` tells a repeated one that its try was already made.
    """

    call_id: int
    source: str
    call_ref: str
    dispatched_at: datetime


class Claim(NamedTuple):
    """A recording that is ours to download until the lease runs out."""

    call_id: int
    source: str
    call_ref: str
    dialed_at: datetime
    attempts: int
    age_seconds: float
    claimed_at: datetime
    suspect: bool
    failed_probes: int | None
    """Of the pause in spite of which it is tried; None when there is none."""


_CLAIM = (
    recordings.c.call_id,
    recordings.c.source,
    recordings.c.call_ref,
    func.coalesce(recordings.c.dialed_at, recordings.c.scheduled_at),
    recordings.c.attempts,
    cast(
        extract("epoch", func.clock_timestamp() - func.coalesce(recordings.c.counts_from, recordings.c.scheduled_at)),
        Double,
    ),
    recordings.c.tried_at,
    recordings.c.suspect,
    select(recording_pauses.c.failed_probes).where(recording_pauses.c.source == recordings.c.source).scalar_subquery(),
)
"""What to return for a `Claim`."""


class StoredFile(NamedTuple):
    """Where a recording was put, and what identifies its bytes."""

    path: str
    size_bytes: int
    sha256: bytes
    key_month: str | None = None
    """By whose key it is encrypted; None: it is there as it came."""


def take_due(connection: Connection, source: str, *, limit: int, redispatch_after_seconds: float) -> list[DueRecording]:
    """A dialler's recordings to be tried now, longest due first; none of them is due again for a while.

    That while doubles each time nobody begins one. One whose downloader let its lease run out is taken back first. From
    the second such loss in a row it waits before it is sent, and with the last that is allowed it ends as failed.
    """
    rows = connection.execute(
        _TAKE_DUE,
        {
            "limit": limit,
            "redispatch_after": redispatch_after_seconds,
            "longest": LONGEST_REDISPATCH,
            "source": source,
            "taken_back": TAKEN_BACK,
            "lost_too_often": LOST_TOO_OFTEN,
            "lost_wait": LOST_WAIT_SECONDS,
            "lost_at_most": LOST_AT_MOST,
        },
    ).all()
    _tell_ended(connection, [(row[0], row[3]) for row in rows if row.fate == "ends"])
    going = sorted((row for row in rows if row.fate == "goes"), key=lambda row: (row[4], row[0]))
    return [DueRecording(*row[:4]) for row in going]


# SQL: rows taken and moved in one statement, each by its own fate; it reads the partial index of what waits alone.
_TAKE_DUE = text(
    "UPDATE recordings SET state = CASE fate WHEN 'ends' THEN 'failed' ELSE 'scheduled' END, "
    "  attempts = recordings.attempts + lost::int, losses = recordings.losses + lost::int, "
    "  reason = CASE WHEN fate = 'ends' THEN :lost_too_often WHEN lost THEN :taken_back "
    "                ELSE recordings.reason END, "
    "  ended_at = CASE fate WHEN 'ends' THEN now() END, "
    "  released_at = CASE fate WHEN 'goes' THEN now() END, "
    "  releases = CASE fate WHEN 'goes' THEN recordings.releases + 1 ELSE 0 END, "
    "  due_at = CASE fate "
    "    WHEN 'goes' THEN now() + make_interval(secs => "
    "      least(:redispatch_after * 2 ^ least(recordings.releases, 20), :redispatch_after * :longest)) "
    "    WHEN 'waits' THEN now() + make_interval(secs => "
    "      :lost_wait * 2 ^ (recordings.losses - 1) * (0.75 + random() / 2)) END "
    "FROM (SELECT call_id, due_at, state = 'downloading' AS lost, "
    "        CASE WHEN state = 'scheduled' OR losses = 0 THEN 'goes' "
    "             WHEN losses + 1 < :lost_at_most THEN 'waits' ELSE 'ends' END AS fate "
    "      FROM recordings "
    f"      WHERE {WAITING} AND due_at <= now() AND source = :source "
    "      ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) AS due "
    "WHERE recordings.call_id = due.call_id "
    "RETURNING recordings.call_id, recordings.source, recordings.call_ref, now(), due.due_at, due.fate"
)


def give_back(connection: Connection, taken: Sequence[DueRecording]) -> None:
    """Recordings whose message could not be sent are due again."""
    connection.execute(
        _GIVE_BACK, {"ids": [each.call_id for each in taken], "sent": [each.dispatched_at for each in taken]}
    )


# SQL: many rows in one statement of two parameters.
_GIVE_BACK = text(
    "UPDATE recordings SET released_at = NULL, releases = 0, due_at = now() "
    "FROM unnest(cast(:ids AS bigint[]), cast(:sent AS timestamptz[])) AS given (call_id, sent) "
    "WHERE recordings.call_id = given.call_id AND state = 'scheduled' AND released_at = sent"
)


def claim(
    connection: Connection, call_id: int, *, source: str, lease_seconds: float, dispatched_at: datetime | None
) -> Claim | None:
    """Take a recording for ourselves; None when it is not waiting, was tried since ``dispatched_at``, or is paused.

    Only a message can be held up by a pause: whoever comes without one tries in spite of it.
    """
    # A claim that a crash of the database undoes is made again, so nobody need wait for the disk.
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    of = recordings.c
    was_lost = case((of.state == _DOWNLOADING, 1), else_=0)
    dialed_at = select(calls.c.dialed_at).where(calls.c.id == of.call_id).scalar_subquery()
    left_behind = and_(of.state == _DOWNLOADING, of.due_at <= func.now(), of.losses + 1 < LOST_AT_MOST)
    row = connection.execute(
        update(recordings)
        .values(
            **_NOT_SENT,
            state=_DOWNLOADING,
            tried_at=func.clock_timestamp(),
            attempts=of.attempts + was_lost,
            losses=of.losses + was_lost,
            dialed_at=func.coalesce(of.dialed_at, dialed_at),
            due_at=func.now() + timedelta(seconds=lease_seconds),
        )
        .where(
            of.call_id == call_id,
            of.source == source,
            or_(of.state == _SCHEDULED, left_behind),
            *narrow({"sent": dispatched_at}, _OF_A_MESSAGE),
        )
        .returning(*_CLAIM)
    ).one_or_none()
    return None if row is None else Claim(*row)


def put_back(connection: Connection, call_id: int, *, source: str, dispatched_at: datetime) -> bool:
    """A recording whose message came during a pause is due as before; False when that is not what held it up."""
    of = recordings.c
    result = connection.execute(
        update(recordings)
        .values(**_NOT_SENT, due_at=func.now())
        .where(
            of.call_id == call_id,
            of.source == source,
            of.state == _SCHEDULED,
            of.released_at == dispatched_at,
            _HELD_UP,
        )
    )
    return bool(result.rowcount)


def renew(connection: Connection, held: Claim, *, lease_seconds: float) -> bool:
    """Keep a recording for longer; False when it is no longer ours."""
    result = connection.execute(
        update(recordings).values(due_at=func.now() + timedelta(seconds=lease_seconds)).where(*_ours(held))
    )
    return bool(result.rowcount)


def settle(connection: Connection, held: Claim, decision: Decision, stored: StoredFile | None) -> bool:
    """Write what came of a try; False, and nothing is written, when the recording is no longer ours.

    Raises:
        ValueError: the decision is no legal move, or it is ``stored`` without a file or the other way round.
    """
    if not may_move(RecordingState.DOWNLOADING, decision.state) or decision.state is RecordingState.DOWNLOADING:
        raise ValueError(f"a try cannot end in {decision.state}")
    if (decision.state is RecordingState.STORED) is not (stored is not None):
        raise ValueError("a recording is stored if and only if there is a file")
    goes_on = decision.state is RecordingState.SCHEDULED
    wait = decision.wait_seconds
    result = connection.execute(
        update(recordings)
        .values(
            state=decision.state.value,
            reason=decision.reason,
            attempts=decision.attempts,
            due_at=None if wait is None else func.clock_timestamp() + timedelta(seconds=wait),
            ended_at=None if goes_on else func.clock_timestamp(),
            suspect=recordings.c.suspect if goes_on else False,
            losses=0,
            **(stored._asdict() if stored else dict.fromkeys(StoredFile._fields)),
        )
        .where(*_ours(held))
        .returning(recordings.c.ended_at)
    )
    ours = result.one_or_none()
    if ours is not None and ours.ended_at is not None:
        _tell_ended(connection, [(held.call_id, ours.ended_at)])
    return ours is not None


def _tell_ended(connection: Connection, ended: Iterable[tuple[int, datetime]]) -> None:
    tell(connection, "recording.ended", [(call_id, int(at.timestamp() * 1_000)) for call_id, at in ended])


def _ours(held: Claim) -> tuple[ColumnElement[bool], ...]:
    of = recordings.c
    return of.call_id == held.call_id, of.state == _DOWNLOADING, of.tried_at == held.claimed_at
