"""The history of a call as sentences, and as JSON."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pipeline.lookup.rules.history import ActionRow, DispositionRow, FailureRow, History, LineRow, ProvidersSide
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
        "net": net_charge(history),
        "not_charged": None if history.uncharged is None else history.uncharged.reason,
        "disposition": None if disposition is None else disposition._asdict(),
        "charges": [line._asdict() for line in history.charges],
        "recording": None if recording is None else {**vars(recording)},  # `asdict` copies what nobody can change
        "failures": [_failure(each) for each in history.failures],
        "versions": [version._asdict() | {"call": version.call._asdict()} for version in history.replaced],
        "history": [event._asdict() for event in events(history)],
    }


def provider_as_dict(provider: ProvidersSide) -> dict[str, Any]:
    """What it says of the provider's side, which integrators do not get."""
    return {
        "net": net_charge(provider),
        "not_charged": None if provider.uncharged is None else provider.uncharged.reason,
        "charges": [line._asdict() for line in provider.charges],
    }


def net_charge(of: History | ProvidersSide) -> dict[str, Decimal]:
    """What a side's lines come to, by currency; a currency that was taken back altogether is left out."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in of.charges:
        sums[line.currency] += line.amount
    # A charge of nothing is one too, and stands there as long as it is in force.
    in_force = of.charges[-1].currency if of.charges and of.charges[-1].kind == "charge" else None
    return {currency: amount for currency, amount in sums.items() if amount or currency == in_force}


def _failure(failure: FailureRow) -> dict[str, Any]:
    return {"class" if name == "failure_class" else name: value for name, value in failure._asdict().items()}


def events(history: History) -> list[Event]:
    """Everything that happened to a call, oldest first."""
    content = f"content sha256 {history.content_hash.hex()[:16]}…"
    first = history.replaced[0] if history.replaced else None
    found = [
        *_received(history),
        Event(history.normalized_at, "normalized", content)
        if first is None
        else Event(first.normalized_at, "normalized", "the version that was replaced later"),
        *_classified(history.disposition),
        *map(_failed, history.failures),
        *(
            Event(each.noticed_at, "duplicate", f"record {each.record_id} repeats this call")
            for each in history.duplicates
        ),
        *(
            Event(each.accepted_at, "replaced", f"by record {each.record_id}, which {each.accepted_by} accepted")
            for each in history.replaced
        ),
        *(Event(each.at, each.action, _done(each)) for each in history.actions if each.action != _TOLD_BY_THE_VERSION),
        *map(_charged, history.charges),
        *_recorded(history.recording),
    ]
    if history.uncharged is not None:
        found.append(Event(history.uncharged.decided_at, "not charged", history.uncharged.reason))
    return sorted(found, key=lambda event: event.at)


_TOLD_BY_THE_VERSION = "replaced by an accepted record"
"""The action written for the call beside that for the record accepted."""


def _done(action: ActionRow) -> str:
    reason = (action.detail or {}).get("reason")
    return f"by {action.who}: {reason}" if reason else f"by {action.who}"


def _failed(failure: FailureRow) -> Event:
    said = f"{failure.failure_class}, attempt {failure.attempts}, now {failure.state}: {failure.reason}"
    return Event(failure.last_failed_at, f"{failure.step} failed", f"{said}; failure {failure.id}")


def _received(history: History) -> Iterator[Event]:
    batches = {batch.id: batch for batch in history.batches}
    for record_id in (history.record_id, *(version.record_id for version in history.replaced)):
        if (batch := batches.get(batch_of(record_id))) is not None:
            size = f"{batch.records} record{'' if batch.records == 1 else 's'}"
            yield Event(batch.received_at, "received", f"record {record_id}, in batch {batch.id} ({size})")


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
