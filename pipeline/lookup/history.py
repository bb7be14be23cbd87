"""Everything stored about one call, as rows; what to say of them is for the shells."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Select, select

from pipeline.database import tables
from pipeline.database.narrowing import among
from pipeline.record_ids import batch_of
from pipeline.recordings.rules.row import RecordingOfCall

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy import ColumnElement, Connection, Table


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
    """One line of its ledger, with the tariff it was made by."""

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
    """Why it costs nothing."""

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
    """One call with all that followed from it; lists are in the order of time."""

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


def sources_of(connection: Connection, call_ref: str) -> list[str]:
    """The diallers that have a call of this reference."""
    calls = tables.calls.c
    return list(connection.scalars(select(calls.source).where(calls.call_ref == call_ref).order_by(calls.source)))


def history_of(connection: Connection, call_ref: str, source: str) -> History:
    """One call with all that followed from it.

    Args:
        connection: the database.
        call_ref: the dialler's internal call reference.
        source: the dialler.

    Raises:
        sqlalchemy.exc.NoResultFound: it has no such call.
    """
    calls = tables.calls.c
    ours = (calls.call_ref == call_ref) & (calls.source == source)
    keys = connection.execute(select(calls.id, calls.normalized_at, calls.content_hash).where(ours)).one()
    call_id = int(keys.id)
    replaced = _replaced(connection, call_id)
    records = [call_id, *(version.record_id for version in replaced)]
    failures = tables.failures.c
    # A record that is in conflict with the call never became one: it is known by what it calls itself.
    failed = among(failures.record_id, records) | ((failures.call_ref == call_ref) & (failures.source == source))
    return History(
        call_id,
        keys.normalized_at,
        bytes(keys.content_hash),
        _rows(connection, CallRow, tables.calls, ours)[0],
        _rows(connection, BatchRow, tables.batches, among(tables.batches.c.id, [batch_of(each) for each in records])),
        _one(connection, DispositionRow, tables.dispositions, tables.dispositions.c.call_id == call_id),
        _lines(connection, call_id),
        _one(connection, UnchargedRow, tables.uncharged, tables.uncharged.c.call_id == call_id),
        _recording(connection, call_id),
        _rows(connection, FailureRow, tables.failures, failed),
        _rows(connection, DuplicateRow, tables.duplicates, tables.duplicates.c.call_id == call_id),
        _rows(connection, ActionRow, tables.actions, among(tables.actions.c.record_id, records)),
        replaced,
    )


def _replaced(connection: Connection, call_id: int) -> list[Version]:
    of = tables.revisions.c
    rows = connection.execute(
        select(of.replaced, of.record_id, of.accepted_by, of.accepted_at)
        .where(of.call_id == call_id)
        .order_by(of.accepted_at, of.record_id)
    )
    return [_version(*row) for row in rows]


def _version(replaced: dict[str, Any], record_id: int, accepted_by: str, accepted_at: datetime) -> Version:
    # The row as JSON, of whatever version of the tables made it: a column it did not have yet is None.
    call = CallRow(**{name: replaced.get(name) for name in CallRow._fields})  # type: ignore[arg-type]
    call = call._replace(dialed_at=_instant(replaced["dialed_at"]))
    return Version(call, _instant(replaced["normalized_at"]), record_id, accepted_by, accepted_at)


def _instant(said: str) -> datetime:
    return datetime.fromisoformat(said).astimezone(UTC)


def _recording(connection: Connection, call_id: int) -> RecordingOfCall | None:
    of = tables.recordings.c
    columns = select(*(of[each.name] for each in fields(RecordingOfCall)))
    row = connection.execute(columns.where(of.call_id == call_id)).one_or_none()
    return None if row is None else RecordingOfCall(*row)


def _lines(connection: Connection, call_id: int) -> list[LineRow]:
    ledger, versions, tariffs = tables.ledger, tables.tariff_versions, tables.tariffs
    of_the_line = [ledger.c[name] for name in LineRow._fields[:-2]]
    query = (
        select(*of_the_line, tariffs.c.name, versions.c.version)
        .select_from(
            ledger.outerjoin(versions, versions.c.id == ledger.c.tariff_version_id).outerjoin(
                tariffs, tariffs.c.id == versions.c.tariff_id
            )
        )
        .where(ledger.c.call_id == call_id)
        .order_by(ledger.c.revision, ledger.c.kind)
    )
    return [LineRow._make(row) for row in connection.execute(query)]


Row = TypeVar("Row", bound=tuple[object, ...])


def _rows(connection: Connection, row: type[Row], table: Table, condition: ColumnElement[bool]) -> list[Row]:
    names: tuple[str, ...] = row._fields  # type: ignore[attr-defined]  # a NamedTuple's
    query: Select[tuple[object, ...]] = select(*(table.c[name] for name in names)).where(condition)
    return [row(*found) for found in connection.execute(query.order_by(*table.primary_key.columns))]


def _one(connection: Connection, row: type[Row], table: Table, condition: ColumnElement[bool]) -> Row | None:
    found = _rows(connection, row, table, condition)
    return found[0] if found else None
