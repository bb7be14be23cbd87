"""Everything stored about one call, for whoever asks how it came to its charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def sources_of(connection: Connection, call_ref: str) -> list[str]:
    """The diallers that have a call of this reference."""
    rows = connection.execute(
        text("SELECT source FROM calls WHERE call_ref = :call_ref ORDER BY source"), {"call_ref": call_ref}
    )
    return list(rows.scalars())


# long: one query a table, in the order of a call's life
def explain(connection: Connection, call_ref: str, source: str) -> dict[str, Any]:
    """One call with all that followed from it.

    Args:
        connection: the database.
        call_ref: the dialler's internal call reference; it must exist.
        source: the dialler.

    Returns:
        ``call``, ``disposition``, ``charges``, ``recording`` and ``history``, as docs/reference.md describes them.
    """
    call = _one(
        connection,
        "SELECT * FROM calls WHERE call_ref = :call_ref AND source = :source",
        call_ref=call_ref,
        source=source,
    )
    assert call is not None
    call_id = call.pop("id")
    content_hash = call.pop("content_hash")
    normalized_at = call.pop("normalized_at")
    disposition = _one(connection, "SELECT * FROM dispositions WHERE call_id = :id", id=call_id)
    charges = _all(
        connection,
        "SELECT l.*, t.name AS tariff, v.version AS tariff_version FROM ledger AS l "
        "LEFT JOIN tariff_versions AS v ON v.id = l.tariff_version_id LEFT JOIN tariffs AS t ON t.id = v.tariff_id "
        "WHERE l.call_id = :id ORDER BY l.revision, l.kind",
        id=call_id,
    )
    recording = _one(connection, "SELECT * FROM recordings WHERE call_id = :id", id=call_id)
    history = [
        *_received(connection, call_id),
        _event(normalized_at, "normalized", f"content sha256 {bytes(content_hash).hex()[:16]}…"),
        *_disposed(disposition),
        *(_charged(line) for line in charges),
        *_uncharged(connection, call_id),
        *_recorded(recording),
        *_failed(connection, call_id),
        *_repeated(connection, call_id),
        *_acted(connection, call_id),
    ]
    for row in (disposition, recording, *charges):
        if row is not None:
            row.pop("call_id", None)
    if recording is not None and recording["sha256"] is not None:
        recording["sha256"] = bytes(recording["sha256"]).hex()
    return {
        "call": call,
        "disposition": disposition,
        "charges": charges,
        "recording": recording,
        "history": sorted(history, key=lambda event: event["at"]),
    }


def _event(at: datetime, event: str, detail: str) -> dict[str, Any]:
    return {"at": at, "event": event, "detail": detail}


def _received(connection: Connection, call_id: int) -> list[dict[str, Any]]:
    batch_id = batch_of(call_id)
    batch = _one(connection, "SELECT received_at, records FROM batches WHERE id = :id", id=batch_id)
    if batch is None:
        return []
    return [_event(batch["received_at"], "received", f"record {call_id}, in batch {batch_id} of {batch['records']}")]


def _disposed(disposition: dict[str, Any] | None) -> list[dict[str, Any]]:
    if disposition is None:
        return []
    sure = " (uncertain)" if disposition["uncertain"] else ""
    return [_event(disposition["classified_at"], "classified", f"{disposition['disposition']}{sure}")]


def _charged(line: dict[str, Any]) -> dict[str, Any]:
    kind = "charged" if line["kind"] == "charge" else "reversed"
    return _event(
        line["entered_at"],
        kind,
        f"{line['amount']:f} {line['currency']} for {line['billable_seconds']} s at {line['rate_per_minute']:f} a min"
        f" (prefix {line['prefix'] or 'any'}, tariff {line['tariff']} version {line['tariff_version']})",
    )


def _uncharged(connection: Connection, call_id: int) -> list[dict[str, Any]]:
    rows = _all(connection, "SELECT reason, decided_at FROM uncharged WHERE call_id = :id", id=call_id)
    return [_event(row["decided_at"], "not charged", row["reason"]) for row in rows]


def _recorded(recording: dict[str, Any] | None) -> list[dict[str, Any]]:
    if recording is None:
        return []
    events = [_event(recording["scheduled_at"], "recording scheduled", "to be fetched from the dialler by call_ref")]
    if recording["tried_at"] is not None:
        events.append(_event(recording["tried_at"], "recording tried", f"attempt {recording['attempts']}"))
    if recording["ended_at"] is not None:
        detail = recording["reason"] or recording["path"] or ""
        events.append(_event(recording["ended_at"], f"recording {recording['state']}", detail))
    if recording["verified_at"] is not None:
        detail = recording["verify_problem"] or "size and SHA-256 are as they were stored"
        events.append(_event(recording["verified_at"], "recording verified", detail))
    if recording["deleted_at"] is not None:
        events.append(_event(recording["deleted_at"], "recording deleted", recording["deleted_reason"] or ""))
    return events


def _failed(connection: Connection, call_id: int) -> list[dict[str, Any]]:
    rows = _all(
        connection,
        "SELECT step, class, state, reason, attempts, last_failed_at FROM failures WHERE record_id = :id",
        id=call_id,
    )
    return [
        _event(
            row["last_failed_at"],
            f"{row['step']} failed",
            f"{row['class']}, attempt {row['attempts']}, now {row['state']}: {row['reason']}",
        )
        for row in rows
    ]


def _repeated(connection: Connection, call_id: int) -> list[dict[str, Any]]:
    rows = _all(connection, "SELECT record_id, noticed_at FROM duplicates WHERE call_id = :id", id=call_id)
    return [_event(row["noticed_at"], "duplicate", f"record {row['record_id']} repeats this call") for row in rows]


def _acted(connection: Connection, call_id: int) -> list[dict[str, Any]]:
    rows = _all(connection, "SELECT at, who, action FROM actions WHERE record_id = :id", id=call_id)
    return [_event(row["at"], row["action"], f"by {row['who']}") for row in rows]


def _one(connection: Connection, query: str, **values: Any) -> dict[str, Any] | None:
    row = connection.execute(text(query), values).mappings().one_or_none()
    return None if row is None else dict(row)


def _all(connection: Connection, query: str, **values: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(query), values).mappings()]
