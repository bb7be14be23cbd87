"""The rows of ``recording_pauses``: a dialler's whole queue waits, for every worker on every machine.

While the row stands nothing is sent and nothing that was sent is begun. When its time is up one recording is tried, the
*probe*; what comes of that ends the pause or makes it longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.database.audit import record_action
from pipeline.recordings.rules.outcome import PauseKind

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.recordings.rules.outcome import Decision

_COLUMNS = "source, kind, reason, since, until, failed_probes, call_id"


class Pause(NamedTuple):
    """Why a dialler's recordings wait, since when, and when the next probe is due."""

    source: str
    kind: PauseKind
    reason: str
    since: datetime
    until: datetime
    failed_probes: int
    call_id: int


def standing(connection: Connection, source: str | None = None) -> list[Pause]:
    """The pauses that stand, of one dialler or of all."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM recording_pauses "
            "WHERE cast(:source AS text) IS NULL OR source = :source ORDER BY source"
        ),
        {"source": source},
    )
    return [_pause(row) for row in rows]


def begin(connection: Connection, source: str, decision: Decision, *, call_id: int) -> Pause | None:
    """Pause a dialler's queue, or make its pause longer; returns the pause if it is a new one.

    A pause grows by its probes only: what was under way when it began meets the same cause and says nothing new.
    """
    assert decision.pause_kind is not None
    values = {
        "source": source,
        "kind": decision.pause_kind.value,
        "reason": decision.reason,
        "seconds": decision.pause_seconds,
        "call_id": call_id,
    }
    row = connection.execute(
        text(
            "INSERT INTO recording_pauses (source, kind, reason, since, until, call_id) "
            "VALUES (:source, :kind, :reason, clock_timestamp(), "
            "        clock_timestamp() + make_interval(secs => :seconds), :call_id) "
            f"ON CONFLICT (source) DO NOTHING RETURNING {_COLUMNS}"
        ),
        values,
    ).one_or_none()
    if row is not None:
        return _pause(row)
    connection.execute(
        text(
            "UPDATE recording_pauses SET kind = :kind, reason = :reason, "
            "  until = CASE WHEN probe_call_id = :call_id THEN clock_timestamp() + make_interval(secs => :seconds) "
            "               ELSE greatest(until, clock_timestamp() + make_interval(secs => :seconds)) END, "
            "  failed_probes = failed_probes + (probe_call_id IS NOT DISTINCT FROM :call_id)::int, "
            "  probe_call_id = nullif(probe_call_id, :call_id) "
            "WHERE source = :source"
        ),
        values,
    )
    return None


def let_one_through(connection: Connection, source: str, call_id: int, *, seconds: float) -> None:
    """Let one recording through; after the seconds another may be, in case nothing is heard of this one."""
    connection.execute(
        text(
            "UPDATE recording_pauses SET probe_call_id = :call_id, "
            "  until = clock_timestamp() + make_interval(secs => :seconds) WHERE source = :source"
        ),
        {"source": source, "call_id": call_id, "seconds": seconds},
    )


def probe_again(connection: Connection, source: str, call_id: int) -> None:
    """The probe said nothing about the cause: another may go at once."""
    connection.execute(
        text(
            "UPDATE recording_pauses SET probe_call_id = NULL, until = clock_timestamp() "
            "WHERE source = :source AND probe_call_id = :call_id"
        ),
        {"source": source, "call_id": call_id},
    )


def end(connection: Connection, source: str, *, call_id: int, claimed_at: datetime) -> Pause | None:
    """End a pause that a try begun after it has shown to be over; returns the pause if there was one.

    When it was another recording that was refused first, it may have been refused for itself. It is marked, so that it
    does not pause the others again.
    """
    row = connection.execute(
        text(f"DELETE FROM recording_pauses WHERE source = :source AND since < :claimed_at RETURNING {_COLUMNS}"),
        {"source": source, "claimed_at": claimed_at},
    ).one_or_none()
    if row is None:
        return None
    pause = _pause(row)
    if pause.kind in {PauseKind.REFUSED, PauseKind.STORE_AWAY}:
        connection.execute(
            text("UPDATE recordings SET suspect = true WHERE call_id = :culprit AND call_id <> :call_id"),
            {"culprit": pause.call_id, "call_id": call_id},
        )
    return pause


def lift(connection: Connection, source: str | None, *, who: str) -> list[Pause]:
    """End pauses because an operator says so; what met the cause is due at once."""
    rows = connection.execute(
        text(
            f"DELETE FROM recording_pauses WHERE cast(:source AS text) IS NULL OR source = :source RETURNING {_COLUMNS}"
        ),
        {"source": source},
    ).all()
    lifted = sorted(_pause(row) for row in rows)
    for pause in lifted:
        connection.execute(
            text(
                "UPDATE recordings SET due_at = now() "
                "WHERE source = :source AND state = 'scheduled' AND due_at > now() "
                # Those that were under way when it began met it, too.
                "  AND (tried_at >= :since OR call_id = :call_id "
                "       OR (tried_at >= :since - interval '15 minutes' AND reason = :reason))"
            ),
            {"source": pause.source, "since": pause.since, "call_id": pause.call_id, "reason": pause.reason},
        )
        detail = {"source": pause.source, "kind": pause.kind.value, "reason": pause.reason}
        record_action(connection, who, "recordings resumed", detail)
    return lifted


def _pause(row: tuple[object, ...]) -> Pause:
    pause = Pause(*row)  # type: ignore[arg-type]
    return pause._replace(kind=PauseKind(pause.kind))
