"""What is stored about one call, by the kinds of its rows; what to say of them is for the shells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from pipeline.recordings.rules.row import RecordingOfCall


class CallRow(NamedTuple):
    """What a call is: its row in ``calls`` but for what only the pipeline itself needs."""

    source: str
    call_ref: str
    campaign_ref: str
    contact_ref: str | None
    extension: str | None
    client_number: str | None
    client_number_original: str | None
    client_number_is_e164: bool
    dial_number: str | None
    dial_number_original: str | None
    dial_number_is_e164: bool
    direction: str
    dialed_at: datetime
    talk_seconds: int
    hold_seconds: int | None
    end_reason: str
    end_code: int | None
    recording_url: str | None
    recording_url_sent: bool
    extra: dict[str, object] | None


class DispositionRow(NamedTuple):
    """How it ended, and what that means."""

    disposition: str
    uncertain: bool
    why: str
    end_code_meaning: str | None
    person_reached: bool
    contact_done: bool
    can_be_billed: bool
    can_have_audio: bool
    classified_at: datetime


class LineRow(NamedTuple):
    """One line of a side of its ledger, with the tariff it was made by."""

    kind: str
    revision: int
    tariff_version_id: int
    rate_line: int | None
    prefix: str
    rate_per_minute: Decimal
    connect_fee: Decimal
    talk_seconds: int
    rated_seconds: int | None
    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    currency: str
    reason: str
    rerate_id: int | None
    entered_at: datetime
    tariff: str | None
    """The tariff's name; None when the line names a version that is not there."""
    tariff_version: int | None


class UnchargedRow(NamedTuple):
    """Why it costs nothing; of the provider's side also why that is not known."""

    reason: str
    decided_at: datetime


class FailureRow(NamedTuple):
    """A step that could not do it, for the call or for a record that says something else of it."""

    id: int
    record_id: int
    step: str
    failure_class: str
    state: str
    reason: str
    attempts: int
    last_failed_at: datetime


class DuplicateRow(NamedTuple):
    """A record that repeats it."""

    record_id: int
    noticed_at: datetime


class ActionRow(NamedTuple):
    """What a person did to it."""

    at: datetime
    who: str
    action: str
    detail: dict[str, object] | None
    """JSON, whatever the action had to say; a ``reason`` is why it was done."""


class Version(NamedTuple):
    """The call as it was, until a record was accepted in its place."""

    call: CallRow
    normalized_at: datetime
    record_id: int
    """Of the record that took its place."""
    accepted_by: str
    accepted_at: datetime


class BatchRow(NamedTuple):
    """The batch it came in."""

    id: int
    received_at: datetime
    records: int


class History(NamedTuple):
    """One call with all that followed from it; lists are in the order of time.

    Charges and reasons are the client's: this goes to integrators, who are not told what the provider charges.
    """

    record_id: int
    normalized_at: datetime
    content_hash: bytes
    call: CallRow
    batches: list[BatchRow]
    """That of its record, then those of the records accepted later."""
    disposition: DispositionRow | None
    charges: list[LineRow]
    uncharged: UnchargedRow | None
    recording: RecordingOfCall | None
    failures: list[FailureRow]
    duplicates: list[DuplicateRow]
    actions: list[ActionRow]
    replaced: list[Version]


class ProvidersSide(NamedTuple):
    """What the provider charges for a call, for whoever keeps both accounts."""

    charges: list[LineRow]
    uncharged: UnchargedRow | None
    """Why nothing is charged, or why that is not known; None too when no provider's tariff was assigned to the call."""
