"""Raw records in, calls and duplicates out."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.database.engine import copy_rows, driver_connection, driver_errors, execute, is_outage
from pipeline.database.tables import calls, duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.rules.cdr import Cdr


class RawRecord(NamedTuple):
    """One record that has not become a call yet: its bytes, edited ones if an operator changed them."""

    record_id: int
    raw: bytes


class NewCall(NamedTuple):
    """A call about to be stored under its record's id."""

    record_id: int
    cdr: Cdr


class StoredCall(NamedTuple):
    """What is known of a call that already has the key of a new one."""

    call_id: int
    call_ref: str
    content_hashes: frozenset[bytes]
    """Of the content it has, and of every content an operator replaced."""


_UNREAD = """
SELECT i.record_id, coalesce(e.raw, i.raw) AS raw
FROM inbox AS i
LEFT JOIN LATERAL (
    SELECT raw FROM edits WHERE edits.record_id = i.record_id ORDER BY revision DESC LIMIT 1
) AS e ON true
WHERE i.record_id BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (SELECT FROM calls WHERE calls.id = i.record_id AND calls.id BETWEEN %(first)s AND %(last)s)
  AND NOT EXISTS (SELECT FROM duplicates AS d
                  WHERE d.record_id = i.record_id AND d.record_id BETWEEN %(first)s AND %(last)s)
  AND NOT EXISTS (SELECT FROM revisions AS v
                  WHERE v.record_id = i.record_id AND v.record_id BETWEEN %(first)s AND %(last)s)
  AND NOT EXISTS (SELECT FROM failures AS f
                  WHERE f.record_id = i.record_id AND f.record_id BETWEEN %(first)s AND %(last)s
                    AND f.step = 'normalize' AND f.state IN ('open', 'discarded'))
ORDER BY i.record_id
"""

_INSERT = """
INSERT INTO calls (id, source, call_ref, campaign_ref, contact_ref, extension,
                   client_number, client_number_original, client_number_is_e164,
                   dial_number, dial_number_original, dial_number_is_e164,
                   direction, dialed_at, talk_seconds, hold_seconds, end_reason, end_code,
                   recording_url, recording_url_sent, extra, content_hash)
SELECT id, :source, call_ref, campaign_ref, contact_ref, extension,
       client_number, client_number_original, client_number_is_e164,
       dial_number, dial_number_original, dial_number_is_e164,
       direction, to_timestamp(dialed_at), talk_seconds, hold_seconds, end_reason, end_code,
       recording_url, recording_url_sent, cast(extra AS jsonb), content_hash
FROM unnest(cast(:id AS bigint[]), cast(:call_ref AS text[]), cast(:campaign_ref AS text[]),
            cast(:contact_ref AS text[]), cast(:extension AS text[]),
            cast(:client_number AS text[]), cast(:client_number_original AS text[]),
            cast(:client_number_is_e164 AS boolean[]),
            cast(:dial_number AS text[]), cast(:dial_number_original AS text[]),
            cast(:dial_number_is_e164 AS boolean[]),
            cast(:direction AS text[]), cast(:dialed_at AS float8[]), cast(:talk_seconds AS integer[]),
            cast(:hold_seconds AS integer[]), cast(:end_reason AS text[]), cast(:end_code AS integer[]),
            cast(:recording_url AS text[]), cast(:recording_url_sent AS boolean[]),
            cast(:extra AS text[]), cast(:content_hash AS bytea[]))
     AS new (id, call_ref, campaign_ref, contact_ref, extension,
             client_number, client_number_original, client_number_is_e164,
             dial_number, dial_number_original, dial_number_is_e164,
             direction, dialed_at, talk_seconds, hold_seconds, end_reason, end_code,
             recording_url, recording_url_sent, extra, content_hash)
ON CONFLICT DO NOTHING
RETURNING id
"""
# On whichever key: a database that had calls before has two of the reference, one of which may have missed a call.


def unread_records(connection: Connection, span: Span) -> list[RawRecord]:
    """The records that are neither call nor duplicate nor set aside."""
    return list(map(RawRecord._make, execute(connection, _UNREAD, span.bounds).fetchall()))


def copy_calls(connection: Connection, source: str, new: Sequence[NewCall]) -> bool:
    """Store calls the fast way; False, and none is stored, when the database refuses any of them.

    Nearly always none is: a reference is taken only when the dialler repeats itself. `insert_calls` sorts that out.
    Rows go in by the order of their key here too, see there.
    """
    rows = sorted((_row(source, each) for each in new), key=_CALL_KEY)
    try:
        with driver_errors(connection, "SAVEPOINT"), driver_connection(connection).transaction():
            copy_rows(connection, calls, _COPIED, rows)
    except DBAPIError as error:
        if is_outage(error):
            raise
        return False
    return True


_COPIED = (
    *("id", "source", "call_ref", "campaign_ref", "contact_ref", "extension"),
    *("client_number", "client_number_original", "client_number_is_e164"),
    *("dial_number", "dial_number_original", "dial_number_is_e164"),
    *("direction", "dialed_at", "talk_seconds", "hold_seconds", "end_reason", "end_code"),
    *("recording_url", "recording_url_sent", "extra", "content_hash"),
)
_CALL_KEY = itemgetter(_COPIED.index("call_ref"), _COPIED.index("id"))


def _row(source: str, new: NewCall) -> tuple[Any, ...]:
    cdr = new.cdr
    client, dial = cdr.client_number, cdr.dial_number
    return (
        *(new.record_id, source, cdr.call_ref, cdr.campaign_ref, cdr.contact_ref, cdr.extension),
        *((client.value, client.original, client.is_e164) if client else _NO_NUMBER),
        *((dial.value, dial.original, dial.is_e164) if dial else _NO_NUMBER),
        *(cdr.direction, cdr.dialed_at, cdr.talk_seconds, cdr.hold_seconds, cdr.end_reason, cdr.end_code),
        *(cdr.recording_url, cdr.recording_url_sent, Jsonb(cdr.extra) if cdr.extra else None, cdr.content_hash),
    )


_NO_NUMBER = (None, None, False)


def insert_calls(connection: Connection, source: str, new: Sequence[NewCall]) -> set[int]:
    """Store calls; returns the ids stored, leaving out those whose (source, call_ref) is taken.

    Rows go in by the order of their key, always: two batches holding the same calls then wait for each other in one
    direction only and cannot deadlock.
    """
    ordered = sorted(new, key=lambda call: (call.cdr.call_ref, call.record_id))
    rows = connection.execute(text(_INSERT), {"source": source, **_columns(ordered)})
    return set(rows.scalars())


def _columns(new: Sequence[NewCall]) -> dict[str, list[Any]]:
    """The calls as one list a column."""
    cdrs = [call.cdr for call in new]
    return {
        "id": [call.record_id for call in new],
        "call_ref": [cdr.call_ref for cdr in cdrs],
        "campaign_ref": [cdr.campaign_ref for cdr in cdrs],
        "contact_ref": [cdr.contact_ref for cdr in cdrs],
        "extension": [cdr.extension for cdr in cdrs],
        "client_number": [cdr.client_number and cdr.client_number.value for cdr in cdrs],
        "client_number_original": [cdr.client_number and cdr.client_number.original for cdr in cdrs],
        "client_number_is_e164": [bool(cdr.client_number and cdr.client_number.is_e164) for cdr in cdrs],
        "dial_number": [cdr.dial_number and cdr.dial_number.value for cdr in cdrs],
        "dial_number_original": [cdr.dial_number and cdr.dial_number.original for cdr in cdrs],
        "dial_number_is_e164": [bool(cdr.dial_number and cdr.dial_number.is_e164) for cdr in cdrs],
        "direction": [cdr.direction for cdr in cdrs],
        "dialed_at": [cdr.dialed_at.timestamp() for cdr in cdrs],
        "talk_seconds": [cdr.talk_seconds for cdr in cdrs],
        "hold_seconds": [cdr.hold_seconds for cdr in cdrs],
        "end_reason": [cdr.end_reason for cdr in cdrs],
        "end_code": [cdr.end_code for cdr in cdrs],
        "recording_url": [cdr.recording_url for cdr in cdrs],
        "recording_url_sent": [cdr.recording_url_sent for cdr in cdrs],
        "extra": [json.dumps(cdr.extra) if cdr.extra else None for cdr in cdrs],
        "content_hash": [cdr.content_hash for cdr in cdrs],
    }


def calls_by_ref(connection: Connection, source: str, call_refs: Sequence[str]) -> dict[str, StoredCall]:
    """The stored calls of a source that have these references."""
    found = _by_ref(connection, _BY_REF, source, call_refs)
    # An index that sorts by a locale misses some after an upgrade of the system; where there is such a one there is
    # another that does not.
    missed = [call_ref for call_ref in call_refs if call_ref not in found]
    return found | _by_ref(connection, _BY_BYTES, source, missed) if missed else found


_STORED = (
    "SELECT id, call_ref, content_hash, "
    "  array(SELECT replaced_hash FROM revisions WHERE revisions.call_id = calls.id) AS replaced FROM calls "
)
_BY_REF = _STORED + "WHERE call_ref = ANY(cast(:call_refs AS text[])) AND source = :source"
_BY_BYTES = _STORED + 'WHERE call_ref COLLATE "C" = ANY(cast(:call_refs AS text[])) AND source COLLATE "C" = :source'


def _by_ref(connection: Connection, query: str, source: str, call_refs: Sequence[str]) -> dict[str, StoredCall]:
    rows = connection.execute(text(query), {"call_refs": list(call_refs), "source": source})
    return {
        row.call_ref: StoredCall(
            row.id, row.call_ref, frozenset(bytes(each) for each in (row.content_hash, *row.replaced))
        )
        for row in rows
    }


def keep_conflicts(connection: Connection, source: str, new: Sequence[NewCall]) -> None:
    """Keep what records say whose calls are stored with other content, for the one who accepts them.

    A record that was edited and is in conflict again has its newest content.
    """
    if new:
        connection.execute(
            text(
                "INSERT INTO conflicts (record_id, content) "
                "SELECT * FROM unnest(cast(:record_ids AS bigint[]), cast(:contents AS text[])::jsonb[]) "
                "ON CONFLICT (record_id) DO UPDATE SET content = excluded.content, noticed_at = now()"
            ),
            {
                "record_ids": [call.record_id for call in new],
                "contents": [json.dumps(_content(source, call)) for call in new],
            },
        )


def _content(source: str, new: NewCall) -> dict[str, Any]:
    """A call as PostgreSQL's own `to_jsonb` writes a row of `calls`."""
    columns = dict(zip(_COPIED, _row(source, new), strict=True))
    cdr = new.cdr
    return columns | {
        "dialed_at": cdr.dialed_at.isoformat(),
        "content_hash": f"\\x{cdr.content_hash.hex()}",
        "extra": cdr.extra or None,
    }


def insert_duplicates(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Count records that say nothing new: pairs of record id and the id of the call they repeat."""
    if pairs:
        copy_rows(connection, duplicates, ("record_id", "call_id"), pairs)
