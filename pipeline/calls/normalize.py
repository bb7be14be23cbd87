"""Raw records become calls; what cannot is quarantined, what was here before is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.batches.isolation import bug, write_isolated
from pipeline.batches.rules.failure import Failure
from pipeline.calls.call_rows import (
    calls_by_ref,
    copy_calls,
    insert_calls,
    insert_duplicates,
    keep_conflicts,
    replace_pulled,
    unread_records,
)
from pipeline.calls.columns import NewCall
from pipeline.calls.erased import keyed, known_by, redact
from pipeline.calls.rules.cdr import names_in, read_cdr
from pipeline.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.call_rows import RawRecord, StoredCall
    from pipeline.calls.in_hand import InHand


def normalize(
    connection: Connection,
    span: Span,
    *,
    region: str,
    now: datetime,
    erasure_key: str = "",
    in_hand: InHand | None = None,
) -> list[Failure]:
    """Turn unread records into calls.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records.
        region: where national numbers belong, e.g. ``ZA``.
        now: the present instant, aware; a call dialled after it (and a day) is refused.
        erasure_key: by which numbers that were erased are known again; needed once there are any.
        in_hand: is told which calls were stored, for the steps that follow in the same transaction.

    Returns:
        The records that could not become calls.

    Raises:
        ErasureKeyError: numbers were erased, with another key or with one that is not set here.
    """
    new, failures = _read_unread(connection, span, region=region, now=now, erasure_key=erasure_key)
    if not new or _all_stored(connection, span.source, new, alone=in_hand is not None and len(new) == 1):
        if in_hand is not None:
            in_hand.stored(new, of=len(new) + len(failures))
        return failures
    stored: set[int] = set()
    failures += write_isolated(
        connection,
        new,
        lambda calls: stored.update(insert_calls(connection, span.source, calls)),
        lambda call: call.record_id,
    )
    refused = {failure.record_id for failure in failures}
    known = [call for call in new if call.record_id not in stored and call.record_id not in refused]
    if known:
        existing = calls_by_ref(connection, span.source, [call.cdr.call_ref for call in known])
        known, real = _real_records(known, existing)
        if real:
            replace_pulled(connection, span.source, real)
        repeats, conflicts = _compare(known, existing)
        insert_duplicates(connection, repeats)
        in_conflict = {failure.record_id for failure in conflicts}
        keep_conflicts(connection, span.source, [call for call in known if call.record_id in in_conflict])
        failures += conflicts
    return failures


def _all_stored(connection: Connection, source: str, new: Sequence[NewCall], *, alone: bool) -> bool:
    """Store calls the fast way, if none is here yet.

    One that comes alone in a transaction of all steps needs no savepoint: of what goes wrong there nothing is kept.
    """
    return bool(insert_calls(connection, source, new)) if alone else copy_calls(connection, source, new)


def _read_unread(
    connection: Connection, span: Span, *, region: str, now: datetime, erasure_key: str
) -> tuple[list[NewCall], list[Failure]]:
    """What a span's records say; one with a number that was erased is read anew when that is out of it."""
    records, key_id = unread_records(connection, span)
    new, failures = _read(records, region=region, now=now)
    if key_id is None:
        return new, failures
    redacted = redact(connection, records, new, keyed(erasure_key, key_id), region=region)
    if not redacted:
        return new, failures
    new = [call for call in new if call.record_id not in redacted]
    failures = [failure for failure in failures if failure.record_id not in redacted]
    anew, refused = _read([each.record for each in redacted.values()], region=region, now=now)
    new += [known_by(call, read_cdr(redacted[call.record_id].hashed, region=region, now=now)) for call in anew]
    return new, failures + refused


def _read(records: Sequence[RawRecord], *, region: str, now: datetime) -> tuple[list[NewCall], list[Failure]]:
    calls: list[NewCall] = []
    failures: list[Failure] = []
    for record_id, raw in records:
        try:
            calls.append(NewCall(record_id, read_cdr(raw, region=region, now=now)))
        except DataError as error:
            failure = Failure(record_id, "data", str(error), field=error.field, error_type="DataError")
            failures.append(failure._replace(**names_in(raw)._asdict()))
        except Exception as error:  # noqa: BLE001 - one record's bug must not hold up its batch; it is kept with traceback
            failures.append(bug(record_id, error))
    return calls, failures


def _real_records(
    known: Sequence[NewCall], existing: dict[str, StoredCall]
) -> tuple[list[NewCall], list[tuple[NewCall, int]]]:
    """Tell the real records of calls that were pulled from all others; of several of one call the first is it."""
    real: dict[str, tuple[NewCall, int]] = {}
    others: list[NewCall] = []
    for new in known:
        call = existing[new.cdr.call_ref]
        if call.is_pulled and new.cdr.kind is None and new.cdr.call_ref not in real:
            real[new.cdr.call_ref] = (new, call.call_id)
            existing[new.cdr.call_ref] = call._replace(
                content_hashes=call.content_hashes | {new.cdr.content_hash}, is_pulled=False
            )
        else:
            others.append(new)
    return others, list(real.values())


def _compare(known: Sequence[NewCall], existing: dict[str, StoredCall]) -> tuple[list[tuple[int, int]], list[Failure]]:
    """Tell repeats of a stored call from records which say something else under its key."""
    repeats: list[tuple[int, int]] = []
    conflicts: list[Failure] = []
    for record_id, cdr in known:
        call = existing[cdr.call_ref]
        # A pulled record says nothing of a call that is here; nor does any of one that is gone.
        if cdr.content_hash in call.content_hashes or cdr.kind is not None or call.is_gone:
            repeats.append((record_id, call.call_id))
        else:
            conflicts.append(
                Failure(
                    record_id,
                    "conflict",
                    f"call {cdr.call_ref} is already stored with other content (record {call.call_id}): "
                    "accept this version or discard it",
                    field="payload.call_ref",
                    error_type="Conflict",
                    call_ref=cdr.call_ref,
                    campaign_ref=cdr.campaign_ref,
                )
            )
    return repeats, conflicts
