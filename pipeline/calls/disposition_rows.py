"""What each call came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import not_set_aside
from pipeline.calls.rules.disposition import COMMON
from pipeline.database.engine import copy_rows, execute
from pipeline.database.tables import dispositions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.columns import NewCall
    from pipeline.calls.rules.disposition import Classification


class Unclassified(NamedTuple):
    """What classification looks at."""

    call_id: int
    end_reason: str
    end_code: int | None
    extension: str | None
    hold_seconds: int | None
    talk_seconds: int
    dialed_at: datetime
    recording_promised: bool
    is_pulled: bool


_UNCLASSIFIED = f"""
SELECT c.id, c.end_reason, c.end_code, c.extension, c.hold_seconds, c.talk_seconds, c.dialed_at,
       (c.recording_url IS NOT NULL OR NOT c.recording_url_sent) AS recording_promised,
       c.record_kind IS NOT NULL AS is_pulled
FROM calls AS c
WHERE c.id BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (SELECT FROM dispositions AS d
                  WHERE d.call_id = c.id AND d.call_id BETWEEN %(first)s AND %(last)s)
  AND {not_set_aside("c.id", Step.CLASSIFY)}
ORDER BY c.id
"""

_COLUMNS = (
    "call_id",
    "disposition",
    "uncertain",
    "why",
    "end_code_meaning",
    "person_reached",
    "contact_done",
    "can_be_billed",
    "can_have_audio",
    "call_dialed_at",
)


def unclassified_calls(connection: Connection, span: Span) -> list[Unclassified]:
    """The calls that have no disposition and are not set aside."""
    return list(map(Unclassified._make, execute(connection, _UNCLASSIFIED, span.bounds).fetchall()))


def of_new(new: NewCall) -> Unclassified:
    """The same of a call that this transaction has just stored."""
    cdr = new.cdr
    return Unclassified(
        new.record_id,
        cdr.end_reason,
        cdr.end_code,
        cdr.extension,
        cdr.hold_seconds,
        cdr.talk_seconds,
        cdr.dialed_at,
        cdr.recording_url is not None or not cdr.recording_url_sent,
        cdr.kind is not None,
    )


def insert_dispositions(connection: Connection, results: Sequence[tuple[int, datetime, Classification]]) -> None:
    """Store the disposition of each call.

    Args:
        connection: the step's transaction.
        results: of each call its key, when it was dialled, and what it came to.
    """
    if not results:
        return
    rows = (
        (
            call_id,
            result.disposition.value,
            result.uncertain,
            result.why,
            result.end_code_meaning,
            result.person_reached,
            result.contact_done,
            result.can_be_billed,
            result.can_have_audio,
            None if result.disposition in COMMON else dialed_at,
        )
        for call_id, dialed_at, result in results
    )
    copy_rows(connection, dispositions, _COLUMNS, rows)
