"""Each call gets its disposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.batches.isolation import bug
from pipeline.calls.disposition_rows import insert_dispositions, unclassified_calls
from pipeline.calls.rules.disposition import classify as classify_call
from pipeline.calls.rules.disposition import classify_pulled

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.calls.rules.disposition import Classification


def classify(connection: Connection, span: Span) -> list[Failure]:
    """Classify calls; returns those that could not be."""
    results: list[tuple[int, datetime, Classification]] = []
    failures: list[Failure] = []
    for call in unclassified_calls(connection, span):
        try:
            decide = classify_pulled if call.is_pulled else classify_call
            result = decide(call.end_reason, call.end_code, call.extension, call.hold_seconds, call.talk_seconds)
        except Exception as error:  # noqa: BLE001 - one record's bug must not hold up its batch; it is kept with traceback
            failures.append(bug(call.call_id, error))
            continue
        if result.can_have_audio and not call.recording_promised:
            # The dialler sent `recording_url: null`: it has none of this call (contract section 8.5).
            result = msgspec.structs.replace(result, can_have_audio=False)
        results.append((call.call_id, call.dialed_at, result))
    insert_dispositions(connection, results)
    return failures
