"""The rows of ``recordings``: scheduled by the batch, taken when due, leased, settled by the lease's holder.

All times are the database's, so that machines whose clocks differ agree on what is due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.calls.rules.cdr import NAMELESS
from pipeline.database.narrowing import narrow_sql
from pipeline.recordings.rules.outcome import LOST_AT_MOST, LOST_WAIT_SECONDS, RecordingState, may_move

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.recordings.rules.outcome import Decision

NO_CALL_REF = "The dialler sent no call_ref with this call, so there is nothing to ask for its recording by."
TAKEN_BACK = "The worker that was downloading it stopped before it was done; it is tried again."
LOST_TOO_OFTEN = (
    f"{LOST_AT_MOST} workers in a row stopped while they were downloading it; it is taken for the cause, and not tried "
    "again by itself."
)

WAITING = "state IN ('scheduled', 'downloading')"

LONGEST_REDISPATCH = 20
"""A message that nobody begins is repeated ever less often, at last after so many times the first wait."""

_HELD_UP = (
    "EXISTS (SELECT FROM recording_pauses AS pause WHERE pause.source = recordings.source "
    "        AND pause.probe_call_id IS DISTINCT FROM recordings.call_id)"
)

_OF_A_MESSAGE = {"sent": f"(tried_at IS NULL OR tried_at < :sent) AND NOT {_HELD_UP}"}
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


class StoredFile(NamedTuple):
    """Where a recording was put, and what identifies its bytes."""

    path: str
    size_bytes: int
    sha256: bytes


def schedule(connection: Connection, span: Span, *, delay_seconds: float) -> int:
    """Enter a row for each call that can have a recording; returns how many are new.

    A call that came without a call_ref ends here: nothing can be asked.
    """
    result = connection.execute(
        text(
            "INSERT INTO recordings "
            "  (call_id, source, call_ref, dialed_at, state, reason, due_at, counts_from, ended_at) "
            "SELECT calls.id, calls.source, calls.call_ref, calls.dialed_at, "
            "       CASE WHEN nameless THEN 'absent' ELSE 'scheduled' END, "
            "       CASE WHEN nameless THEN :no_call_ref END, "
            "       CASE WHEN NOT nameless THEN now() + make_interval(secs => :delay) END, "
            "       CASE WHEN NOT nameless THEN now() + make_interval(secs => :delay) END, "
            "       CASE WHEN nameless THEN now() END "
            "FROM calls JOIN dispositions ON dispositions.call_id = calls.id, "
            f"     LATERAL (SELECT starts_with(calls.call_ref, '{NAMELESS}') AS nameless) AS named "
            "WHERE calls.id BETWEEN :first AND :last AND dispositions.call_id BETWEEN :first AND :last "
            "  AND dispositions.can_have_audio "
            "  AND NOT EXISTS (SELECT FROM recordings AS known WHERE known.call_id = calls.id "
            "                  AND known.call_id BETWEEN :first AND :last) "
            "ON CONFLICT (call_id) DO NOTHING"
        ),
        {**span.bounds, "delay": delay_seconds, "no_call_ref": NO_CALL_REF},
    )
    return int(result.rowcount)


def take_due(connection: Connection, source: str, *, limit: int, redispatch_after_seconds: float) -> list[DueRecording]:
    """A dialler's recordings to be tried now, longest due first; none of them is due again for a while.

    That while doubles each time nobody begins one. One whose downloader let its lease run out is taken back first. From
    the second such loss in a row it waits before it is sent, and with the last that is allowed it ends as failed.
    """
    rows = connection.execute(
        text(
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
        ),
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
    going = sorted((row for row in rows if row.fate == "goes"), key=lambda row: (row[4], row[0]))
    return [DueRecording(*row[:4]) for row in going]


def give_back(connection: Connection, taken: Sequence[DueRecording]) -> None:
    """Recordings whose message could not be sent are due again."""
    connection.execute(
        text(
            "UPDATE recordings SET released_at = NULL, releases = 0, due_at = now() "
            "FROM unnest(cast(:ids AS bigint[]), cast(:sent AS timestamptz[])) AS given (call_id, sent) "
            "WHERE recordings.call_id = given.call_id AND state = 'scheduled' AND released_at = sent"
        ),
        {"ids": [each.call_id for each in taken], "sent": [each.dispatched_at for each in taken]},
    )


def claim(
    connection: Connection, call_id: int, *, source: str, lease_seconds: float, dispatched_at: datetime | None
) -> Claim | None:
    """Take a recording for ourselves; None when it is not waiting, was tried since ``dispatched_at``, or is paused.

    Only a message can be held up by a pause: whoever comes without one tries in spite of it.
    """
    # A claim that a crash of the database undoes is made again, so nobody need wait for the disk.
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    row = connection.execute(
        text(
            "UPDATE recordings SET state = 'downloading', tried_at = clock_timestamp(), "
            "  attempts = attempts + (state = 'downloading')::int, losses = losses + (state = 'downloading')::int, "
            "  released_at = NULL, releases = 0, "
            "  dialed_at = coalesce(dialed_at, (SELECT dialed_at FROM calls WHERE calls.id = recordings.call_id)), "
            "  due_at = now() + make_interval(secs => :lease) "
            "WHERE call_id = :call_id AND source = :source "
            "  AND (state = 'scheduled' OR (state = 'downloading' AND due_at <= now() AND losses + 1 < :lost_at_most)) "
            f"  {narrow_sql({'sent': dispatched_at}, _OF_A_MESSAGE)} "
            "RETURNING call_id, source, call_ref, coalesce(dialed_at, scheduled_at), attempts, "
            "  extract(epoch FROM clock_timestamp() - coalesce(counts_from, scheduled_at))::float, tried_at, suspect, "
            "  (SELECT failed_probes FROM recording_pauses AS pause WHERE pause.source = recordings.source)"
        ),
        {
            "call_id": call_id,
            "source": source,
            "lease": lease_seconds,
            "sent": dispatched_at,
            "lost_at_most": LOST_AT_MOST,
        },
    ).one_or_none()
    return None if row is None else Claim(*row)


def put_back(connection: Connection, call_id: int, *, source: str, dispatched_at: datetime) -> bool:
    """A recording whose message came during a pause is due as before; False when that is not what held it up."""
    result = connection.execute(
        text(
            "UPDATE recordings SET released_at = NULL, releases = 0, due_at = now() "
            "WHERE call_id = :call_id AND source = :source AND state = 'scheduled' AND released_at = :sent "
            f"  AND {_HELD_UP}"
        ),
        {"call_id": call_id, "source": source, "sent": dispatched_at},
    )
    return bool(result.rowcount)


def renew(connection: Connection, held: Claim, *, lease_seconds: float) -> bool:
    """Keep a recording for longer; False when it is no longer ours."""
    result = connection.execute(
        text(
            "UPDATE recordings SET due_at = now() + make_interval(secs => :lease) "
            "WHERE call_id = :call_id AND state = 'downloading' AND tried_at = :claimed_at"
        ),
        {"call_id": held.call_id, "claimed_at": held.claimed_at, "lease": lease_seconds},
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
    result = connection.execute(
        text(
            "UPDATE recordings SET state = :state, reason = :reason, attempts = :attempts, "
            "  due_at = clock_timestamp() + make_interval(secs => cast(:wait AS float)), "
            "  ended_at = CASE WHEN :state <> 'scheduled' THEN clock_timestamp() END, "
            "  suspect = suspect AND :state = 'scheduled', losses = 0, "
            "  path = :path, size_bytes = :size_bytes, sha256 = :sha256 "
            "WHERE call_id = :call_id AND state = 'downloading' AND tried_at = :claimed_at"
        ),
        {
            "call_id": held.call_id,
            "claimed_at": held.claimed_at,
            "state": decision.state.value,
            "reason": decision.reason,
            "attempts": decision.attempts,
            "wait": decision.wait_seconds,  # null: due_at becomes null
            **(stored._asdict() if stored else dict.fromkeys(StoredFile._fields)),
        },
    )
    return bool(result.rowcount)
