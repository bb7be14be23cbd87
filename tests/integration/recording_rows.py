"""Calls and recordings as rows, for tests of what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.batches.rules.batch import Batch
from pipeline.keeping.policies import recording_ages
from pipeline.record_ids import first_record
from pipeline.recordings import download as steps
from pipeline.recordings.rules.pace import Limits
from pipeline.recordings.scheduling import schedule
from pipeline.sandbox.audio import recording_body
from pipeline.sandbox.calls import SimulatedCall

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from pipeline.recordings.retention import AgesOf
    from pipeline.recordings.rows import DueRecording

DIALED_AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BATCH = 7


def simulated(call_ref: int, *, answered: bool = True) -> SimulatedCall:
    return SimulatedCall(
        call_ref=call_ref,
        contact_ref="account_1",
        campaign="campaign001",
        direction="outbound",
        number="0820001234",
        dial_number="27870001234",
        extension="2001" if answered else None,
        dialed_at=int(DIALED_AT.timestamp()),
        ring_seconds=5,
        hold_seconds=1,
        talk_seconds=2,
        end_reason="callee_hungup",
        end_code="16",
        recording_url="/var/recordings/x.WAV" if answered else None,
    )


def add_call(
    connection: Connection, call_id: int, call_ref: str, *, audio: bool = True, source: str = "enigma"
) -> None:
    connection.execute(
        text(
            "INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, "
            "  dial_number_is_e164, direction, dialed_at, talk_seconds, end_reason, recording_url_sent, "
            "  content_hash) "
            "VALUES (:id, :source, :call_ref, 'c', false, false, 'outbound', :dialed_at, 2, 'hungup', true, "
            "  '')"
        ),
        {"id": call_id, "source": source, "call_ref": call_ref, "dialed_at": DIALED_AT},
    )
    connection.execute(
        text(
            "INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, "
            "  can_be_billed, can_have_audio) VALUES (:id, 'answered', false, '', true, true, true, :audio)"
        ),
        {"id": call_id, "audio": audio},
    )


def scheduled(engine: Engine, *call_refs: int | str, source: str = "enigma", batch: int = BATCH) -> list[int]:
    """Calls of one batch, their recordings due now; returns their ids."""
    ids = [first_record(batch) + place for place in range(len(call_refs))]
    with engine.begin() as connection:
        for call_id, call_ref in zip(ids, call_refs, strict=True):
            add_call(connection, call_id, str(call_ref), source=source)
        schedule(connection, Batch(batch, "enigma", 1).span, delay_seconds=0)
    return ids


def kept_for(days: int | None) -> AgesOf:
    """Retention by a setting alone."""
    return lambda connection: recording_ages(connection, default_days=days)


def row(engine: Engine, call_id: int) -> Any:
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT *, due_at - now() AS due_in FROM recordings WHERE call_id = :id"), {"id": call_id}
        ).one()


def states(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        query = text("SELECT state, count(*) AS calls FROM recordings GROUP BY state")
        return {found.state: found.calls for found in connection.execute(query)}


def change(engine: Engine, assignment: str, *, table: str = "recordings") -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {assignment}"))


def dispatch(
    engine: Engine, *, at_once: int = 1_000, per_second: float = 1e6, source: str | None = None
) -> list[DueRecording]:
    return steps.dispatch(engine, limits=Limits(at_once, per_second), redispatch_after_seconds=60, source=source)


def body(call_ref: int) -> bytes:
    return recording_body(call_ref, 3)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
