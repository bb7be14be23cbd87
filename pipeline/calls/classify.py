"""Each call gets its disposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.batches.isolation import bug
from pipeline.calls.disposition_rows import insert_dispositions, of_new, unclassified_calls
from pipeline.calls.in_hand import Classified
from pipeline.calls.rules.disposition import classify as classify_call
from pipeline.calls.rules.disposition import classify_pulled

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.calls.in_hand import InHand
    from pipeline.calls.rules.disposition import Classification


def classify(connection: Connection, span: Span, *, in_hand: InHand | None = None) -> list[Failure]:
    """Classify calls; returns those that could not be.

    Args:
        connection: the step's transaction, which holds the step's lock.
        span: the records whose calls are to be classified.
        in_hand: the calls, where this transaction stored them; it is told what they came to.
    """
    known = None if in_hand is None else in_hand.calls
    calls = unclassified_calls(connection, span) if known is None else map(of_new, known)
    results: list[tuple[int, datetime, Classification]] = []
    failures: list[Failure] = []
    for call in calls:
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
    if in_hand is not None and known is not None:
        came_to = {call_id: result for call_id, _, result in results}
        in_hand.classified = [Classified(new, came_to[new.record_id]) for new in known if new.record_id in came_to]
    return failures
