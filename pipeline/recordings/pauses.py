"""The rows of ``recording_pauses``: a dialler's whole queue waits, for every worker on every machine.

While the row stands nothing is sent and nothing that was sent is begun. When its time is up one recording is tried, the
*probe*; what comes of that ends the pause or makes it longer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from pipeline.database.audit import record_action
from pipeline.database.narrowing import narrow, word
from pipeline.database.tables import recording_pauses, recordings
from pipeline.recordings.rules.outcome import PauseKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from pipeline.recordings.rules.outcome import Decision

UNDER_WAY = timedelta(minutes=15)
"""Whatever was tried so long before a pause, and ended for the same reason, had met its cause."""


class Pause(NamedTuple):
    """Why a dialler's recordings wait, since when, and when the next probe is due."""

    source: str
    kind: PauseKind
    reason: str
    since: datetime
    until: datetime
    failed_probes: int
    call_id: int


_COLUMNS = [recording_pauses.c[name] for name in Pause._fields]


def standing(connection: Connection, source: str | None = None) -> list[Pause]:
    """The pauses that stand, of one dialler or of all."""
    rows = connection.execute(select(*_COLUMNS).where(*_of(source)).order_by(recording_pauses.c.source))
    return [_pause(row) for row in rows]


def begin(connection: Connection, source: str, decision: Decision, *, call_id: int) -> Pause | None:
    """Pause a dialler's queue, or make its pause longer; returns the pause if it is a new one.

    A pause grows by its probes only: what was under way when it began meets the same cause and says nothing new.
    """
    assert decision.pause_kind is not None
    assert decision.pause_seconds is not None
    why = {"kind": decision.pause_kind.value, "reason": decision.reason}
    until = func.clock_timestamp() + timedelta(seconds=decision.pause_seconds)
    row = connection.execute(
        insert(recording_pauses)
        .values(source=source, **why, since=func.clock_timestamp(), until=until, call_id=call_id)
        .on_conflict_do_nothing()
        .returning(*_COLUMNS)
    ).one_or_none()
    if row is not None:
        return _pause(row)
    of = recording_pauses.c
    is_its_probe = of.probe_call_id.is_not_distinct_from(call_id)
    connection.execute(
        update(recording_pauses)
        .values(
            **why,
            until=case((is_its_probe, until), else_=func.greatest(of.until, until)),
            failed_probes=of.failed_probes + case((is_its_probe, 1), else_=0),
            probe_call_id=func.nullif(of.probe_call_id, call_id),
        )
        .where(of.source == source)
    )
    return None


def let_one_through(connection: Connection, source: str, call_id: int, *, seconds: float) -> None:
    """Let one recording through; after the seconds another may be, in case nothing is heard of this one."""
    connection.execute(
        update(recording_pauses)
        .values(probe_call_id=call_id, until=func.clock_timestamp() + timedelta(seconds=seconds))
        .where(recording_pauses.c.source == source)
    )


def probe_again(connection: Connection, source: str, call_id: int) -> None:
    """The probe said nothing about the cause: another may go at once."""
    connection.execute(
        update(recording_pauses)
        .values(probe_call_id=None, until=func.clock_timestamp())
        .where(recording_pauses.c.source == source, recording_pauses.c.probe_call_id == call_id)
    )


def end(connection: Connection, source: str, *, call_id: int, claimed_at: datetime) -> Pause | None:
    """End a pause that a try begun after it has shown to be over; returns the pause if there was one.

    When it was another recording that was refused first, it may have been refused for itself. It is marked, so that it
    does not pause the others again.
    """
    row = connection.execute(
        delete(recording_pauses)
        .where(recording_pauses.c.source == source, recording_pauses.c.since < claimed_at)
        .returning(*_COLUMNS)
    ).one_or_none()
    if row is None:
        return None
    pause = _pause(row)
    if pause.kind in {PauseKind.REFUSED, PauseKind.STORE_AWAY} and pause.call_id != call_id:
        connection.execute(update(recordings).values(suspect=True).where(recordings.c.call_id == pause.call_id))
    return pause


def lift(connection: Connection, source: str | None, *, who: str) -> list[Pause]:
    """End pauses because an operator says so; what met the cause is due at once."""
    rows = connection.execute(delete(recording_pauses).where(*_of(source)).returning(*_COLUMNS))
    lifted = sorted(_pause(row) for row in rows)
    for pause in lifted:
        of = recordings.c
        # Those that were under way when it began met it, too.
        met_it = and_(of.tried_at >= pause.since - UNDER_WAY, of.reason == pause.reason)
        connection.execute(
            update(recordings)
            .values(due_at=func.now())
            .where(
                of.source == pause.source,
                of.state == word("scheduled"),
                of.due_at > func.now(),
                or_(of.tried_at >= pause.since, of.call_id == pause.call_id, met_it),
            )
        )
        detail = {"source": pause.source, "kind": pause.kind.value, "reason": pause.reason}
        record_action(connection, who, "recordings resumed", detail)
    return lifted


def _of(source: str | None) -> Iterator[ColumnElement[bool]]:
    return narrow({"source": source}, {"source": lambda value: recording_pauses.c.source == value})


def _pause(row: tuple[object, ...]) -> Pause:
    pause = Pause(*row)  # type: ignore[arg-type]
    return pause._replace(kind=PauseKind(pause.kind))
