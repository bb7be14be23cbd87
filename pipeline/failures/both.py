"""Both kinds of failures as one table: of records that a step set aside, and of events that a subscriber refused.

They are counted by one sequence, so an id is of one or the other.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import DateTime, Text, cast, func, literal_column, null, select, union_all

from pipeline.database.tables import failures, feed_refusals

DELIVERY: Final = "delivery"
"""The class of a refused event."""

DELIVER: Final = "deliver"
"""What its step is called: it is none of a batch."""

_OF_RECORDS = ("id", "record_id", "failure_class", "step", "state", "source", "call_ref", "campaign_ref", "field")
_WHAT = ("reason", "attempts", "first_failed_at", "last_failed_at", "retry_at", "error_type", "traceback")


_refused = feed_refusals.c

# Of types that are the same on both sides the server looks into each by its own indexes.
FAILED: Final = union_all(
    select(*(failures.c[name].label(name) for name in (*_OF_RECORDS, *_WHAT)), cast(null(), Text).label("subscriber")),
    select(
        _refused.id,
        func.coalesce(_refused.record_id, 0),
        cast(literal_column(f"'{DELIVERY}'"), Text),
        cast(literal_column(f"'{DELIVER}'"), Text),
        _refused.state,
        _refused.source,
        func.nullif(_refused.call_ref, ""),
        _refused.campaign_ref,
        cast(null(), Text),
        _refused.reason,
        _refused.attempts,
        _refused.refused_at,
        _refused.last_refused_at,
        cast(null(), DateTime(timezone=True)),
        cast(null(), Text),
        cast(null(), Text),
        _refused.subscriber,
    ),
).subquery("failed")
