"""The rows of ``recordings``: scheduled by the batch, taken when due, leased, settled by the lease's holder.

All times are the database's, so that machines whose clocks differ agree on what is due.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Double, and_, case, cast, exists, extract, func, not_, or_, select, text, update

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.calls.rules.erased import ERASED
from pipeline.database.engine import execute
from pipeline.database.feed_log import tell
from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls, recording_pauses, recordings
from pipeline.recordings.rules.outcome import LOST_AT_MOST, LOST_WAIT_SECONDS, RecordingState, may_move

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.columns import NewCall
    from pipeline.calls.in_hand import Classified, InHand
    from pipeline.database.narrowing import Conditions
    from pipeline.recordings.rules.outcome import Decision

NO_CALL_REF = "The dialler sent no call_ref with this call, so there is nothing to ask for its recording by."
OF_ERASED = "The number was erased: nothing of it is fetched or kept."
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


def schedule(connection: Connection, span: Span, *, delay_seconds: float, in_hand: InHand | None = None) -> int:
    """Enter a row for each call that can have a recording; returns how many are new.

    A call that came without a call_ref ends here: nothing can be asked. So does one of a number that was erased.
    """
    heard = None if in_hand is None or in_hand.classified is None else list(_heard(in_hand.classified))
    if heard is not None and not any(map(_ends_here, heard)):
        return _schedule_heard(connection, span.source, heard, delay_seconds)
    words = {"no_call_ref": NO_CALL_REF, "nameless": NAMELESS, "erased": ERASED, "of_erased": OF_ERASED}
    values = {**span.bounds, "delay": delay_seconds, **words}
    return execute(connection, _SCHEDULE, values).rowcount


def _heard(classified: Iterable[Classified]) -> Iterator[NewCall]:
    return (each.call for each in classified if each.result.can_have_audio)


def _ends_here(call: NewCall) -> bool:
    number = call.cdr.client_number
    return call.cdr.call_ref.startswith(NAMELESS) or (number is not None and number.value.startswith(ERASED))


def _schedule_heard(connection: Connection, source: str, calls: Sequence[NewCall], delay_seconds: float) -> int:
    """Of calls that the transaction in hand has stored, so that none has a row."""
    if not calls:
        return 0
    values = {
        "ids": [call.record_id for call in calls],
        "refs": [call.cdr.call_ref for call in calls],
        "dialed": [call.cdr.dialed_at for call in calls],
        "source": source,
        "delay": delay_seconds,
    }
    return execute(connection, _SCHEDULE_HEARD, values).rowcount


_SCHEDULE_HEARD: Final = """
INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, due_at, counts_from)
SELECT id, %(source)s, call_ref, dialed_at, 'scheduled', due.at, due.at
FROM unnest(%(ids)b::bigint[], %(refs)b::text[], %(dialed)b::timestamptz[]) AS heard (id, call_ref, dialed_at),
     (SELECT now() + make_interval(secs => %(delay)s::float8)) AS due (at)
"""


_SCHEDULE: Final = """
INSERT INTO recordings (call_id, source, call_ref, dialed_at, state, reason, due_at, counts_from, ended_at, deleted_at,
                        deleted_reason)
SELECT calls.id, calls.source, calls.call_ref, calls.dialed_at,
       CASE WHEN nameless OR erased THEN 'absent' ELSE 'scheduled' END,
       CASE WHEN erased THEN %(of_erased)s::text WHEN nameless THEN %(no_call_ref)s::text END,
       CASE WHEN NOT (nameless OR erased) THEN now() + make_interval(secs => %(delay)s::float8) END,
       CASE WHEN NOT (nameless OR erased) THEN now() + make_interval(secs => %(delay)s::float8) END,
       CASE WHEN nameless OR erased THEN now() END,
       CASE WHEN erased THEN now() END,
       CASE WHEN erased THEN %(of_erased)s::text END
FROM calls JOIN dispositions ON dispositions.call_id = calls.id,
     LATERAL (SELECT starts_with(calls.call_ref, %(nameless)s::text) AS nameless,
                     coalesce(starts_with(calls.client_number, %(erased)s::text), false) AS erased) AS named
WHERE calls.id BETWEEN %(first)s AND %(last)s AND dispositions.call_id BETWEEN %(first)s AND %(last)s
  AND dispositions.can_have_audio
  AND NOT EXISTS (SELECT FROM recordings AS known WHERE known.call_id = calls.id
                  AND known.call_id BETWEEN %(first)s AND %(last)s)
ON CONFLICT (call_id) DO NOTHING
"""
"""A batch's rows in one statement, by the range of their key in each table; of a step, hence past SQLAlchemy."""


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
