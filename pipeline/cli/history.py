"""The history of a call as sentences, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pipeline.lookup.history import BatchRow, DispositionRow, History, LineRow
    from pipeline.recordings.rules.row import RecordingOfCall


class Event(NamedTuple):
    """Something that happened to a call."""

    at: datetime
    event: str
    detail: str


def as_dict(history: History) -> dict[str, Any]:
    """What ``explain --json`` says, as docs/reference.md describes it."""
    disposition, recording = history.disposition, history.recording
    return {
        "call": history.call._asdict(),
        "disposition": None if disposition is None else disposition._asdict(),
        "charges": [line._asdict() for line in history.charges],
        "recording": None if recording is None else asdict(recording),
        "history": [event._asdict() for event in events(history)],
    }


def events(history: History) -> list[Event]:
    """Everything that happened to a call, oldest first."""
    found = [
        *_received(history.record_id, history.batch),
        Event(history.normalized_at, "normalized", f"content sha256 {history.content_hash.hex()[:16]}…"),
        *_classified(history.disposition),
        *map(_charged, history.charges),
        *_recorded(history.recording),
        *(
            Event(
                each.last_failed_at,
                f"{each.step} failed",
                f"{each.failure_class}, attempt {each.attempts}, now {each.state}: {each.reason}",
            )
            for each in history.failures
        ),
        *(
            Event(each.noticed_at, "duplicate", f"record {each.record_id} repeats this call")
            for each in history.duplicates
        ),
        *(Event(each.at, each.action, f"by {each.who}") for each in history.actions),
    ]
    if history.uncharged is not None:
        found.append(Event(history.uncharged.decided_at, "not charged", history.uncharged.reason))
    return sorted(found, key=lambda event: event.at)


def _received(record_id: int, batch: BatchRow | None) -> Iterator[Event]:
    if batch is not None:
        yield Event(batch.received_at, "received", f"record {record_id}, in batch {batch.id} of {batch.records}")


def _classified(disposition: DispositionRow | None) -> Iterator[Event]:
    if disposition is not None:
        sure = " (uncertain)" if disposition.uncertain else ""
        yield Event(disposition.classified_at, "classified", f"{disposition.disposition}{sure}")


def _charged(line: LineRow) -> Event:
    return Event(
        line.entered_at,
        "charged" if line.kind == "charge" else "reversed",
        f"{line.amount:f} {line.currency} for {line.billable_seconds} s at {line.rate_per_minute:f} a min"
        f" (prefix {line.prefix or 'any'}, tariff {line.tariff} version {line.tariff_version})",
    )


def _recorded(recording: RecordingOfCall | None) -> Iterator[Event]:
    if recording is None:
        return
    yield Event(recording.scheduled_at, "recording scheduled", "to be fetched from the dialler by call_ref")
    if recording.tried_at is not None:
        yield Event(recording.tried_at, "recording tried", f"attempt {recording.attempts}")
    if recording.ended_at is not None:
        yield Event(recording.ended_at, f"recording {recording.state}", recording.reason or recording.path or "")
    if recording.verified_at is not None:
        same = "size and SHA-256 are as they were stored"
        yield Event(recording.verified_at, "recording verified", recording.verify_problem or same)
    if recording.deleted_at is not None:
        yield Event(recording.deleted_at, "recording deleted", recording.deleted_reason or "")
