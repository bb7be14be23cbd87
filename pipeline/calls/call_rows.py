"""Raw records in, calls and duplicates out."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.batches.progress import reopen_all
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import not_set_aside
from pipeline.calls.columns import (
    COLUMNS,
    KEY,
    NewCall,
    content_of,
    insert_into_calls,
    insert_one_into_calls,
    lists_of,
    row_of,
)
from pipeline.database.engine import copy_rows, driver_connection, driver_errors, execute, is_outage
from pipeline.database.feed_log import tell
from pipeline.database.ranges import is_dropped
from pipeline.database.tables import call_keys, calls, duplicates
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span


class RawRecord(NamedTuple):
    """One record that has not become a call yet: its bytes, edited ones if an operator changed them."""

    record_id: int
    raw: bytes


class StoredCall(NamedTuple):
    """What is known of a call that already has the key of a new one."""

    call_id: int
    call_ref: str
    content_hashes: frozenset[bytes]
    """Of the content it has, and of every content that was replaced."""
    is_pulled: bool = False
    """Whether it only stands in for its real record."""
    is_gone: bool = False
    """Whether its range was dropped: nothing but its key is known, and whatever comes of it repeats it."""


# The key of the marks of erased numbers is asked for along: no other round trip, and a lock that erasing waits for. And
# it is said, for this transaction, that the keys of the calls are entered by `copy_calls` and `insert_calls`.
_UNREAD = f"""
SELECT i.record_id, coalesce(e.raw, i.raw) AS raw, (SELECT key_id FROM erased_numbers LIMIT 1),
       (SELECT set_config('cdr.enters_keys', 'on', true))
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
  AND {not_set_aside("i.record_id", Step.NORMALIZE)}
ORDER BY i.record_id
"""

_INSERT = insert_into_calls()
_INSERT_ONE = insert_one_into_calls()
_CALL_KEY = itemgetter(list(COLUMNS).index("call_ref"), list(COLUMNS).index("id"))
_ENTERED = itemgetter(*(list(COLUMNS).index(name) for name in ("call_ref", "source", "id")))


def unread_records(connection: Connection, span: Span) -> tuple[list[RawRecord], str | None]:
    """The records that are neither call nor duplicate nor set aside, and the key of the marks of erased numbers.

    The key is None where there are no marks, or no records.
    """
    rows = execute(connection, _UNREAD, span.bounds).fetchall()
    return [RawRecord(record_id, raw) for record_id, raw, *_ in rows], rows[0][2] if rows else None


def copy_calls(connection: Connection, source: str, new: Sequence[NewCall]) -> bool:
    """Store calls the fast way; False, and none is stored, when the database refuses any of them.

    Nearly always none is: a reference is taken only when the dialler repeats itself. `insert_calls` sorts that out.
    Rows go in by the order of their key here too, see there.
    """
    rows = sorted((row_of(source, each) for each in new), key=_CALL_KEY)
    try:
        with driver_errors(connection, "SAVEPOINT"), driver_connection(connection).transaction():
            copy_rows(connection, call_keys, KEY, map(_ENTERED, rows))
            copy_rows(connection, calls, tuple(COLUMNS), rows)
    except DBAPIError as error:
        if is_outage(error):
            raise
        return False
    return True


def insert_calls(connection: Connection, source: str, new: Sequence[NewCall]) -> set[int]:
    """Store calls; returns the ids stored, leaving out those whose (source, call_ref) is taken.

    Rows go in by the order of their key, always: two batches holding the same calls then wait for each other in one
    direction only and cannot deadlock.
    """
    if len(new) == 1:
        return {record_id for (record_id,) in execute(connection, _INSERT_ONE, row_of(source, new[0]))}
    ordered = sorted(new, key=lambda call: (call.cdr.call_ref, call.record_id))
    rows = connection.execute(text(_INSERT), lists_of([row_of(source, each) for each in ordered]))
    return set(rows.scalars())


def calls_by_ref(connection: Connection, source: str, call_refs: Sequence[str]) -> dict[str, StoredCall]:
    """The calls of a source that have these references, also those whose range was dropped."""
    found: dict[str, StoredCall] = {}
    # The key of all time first. Tables that are no ranges yet have their own, and an index that sorts by a locale
    # misses some after an upgrade of the system: where there is such a one there is another that does not.
    for query in (_BY_KEY, _BY_REF, _BY_BYTES):
        if missed := [call_ref for call_ref in call_refs if call_ref not in found]:
            found |= _by_ref(connection, query, source, missed)
    missed = [call_ref for call_ref in call_refs if call_ref not in found]
    return found | _gone(connection, source, missed) if missed else found


_STORED = (
    "SELECT id, call_ref, content_hash, record_kind, "
    "  array(SELECT replaced_hash FROM revisions WHERE revisions.call_id = calls.id) AS replaced, "
    f"  {is_dropped('calls.id')} AS is_gone FROM calls "
)
_OF_KEYS = "FROM call_keys WHERE call_ref = ANY(cast(:call_refs AS text[])) AND source = :source"
_BY_KEY = f"{_STORED} WHERE id = ANY(ARRAY(SELECT record_id {_OF_KEYS}))"
_BY_REF = _STORED + "WHERE call_ref = ANY(cast(:call_refs AS text[])) AND source = :source"
_BY_BYTES = _STORED + 'WHERE call_ref COLLATE "C" = ANY(cast(:call_refs AS text[])) AND source COLLATE "C" = :source'
_GONE = f"SELECT call_ref, record_id {_OF_KEYS} AND {is_dropped('call_keys.record_id')}"


def _by_ref(connection: Connection, query: str, source: str, call_refs: Sequence[str]) -> dict[str, StoredCall]:
    rows = connection.execute(text(query), {"call_refs": list(call_refs), "source": source})
    return {
        row.call_ref: StoredCall(
            row.id,
            row.call_ref,
            frozenset(bytes(each) for each in (row.content_hash, *row.replaced)),
            is_pulled=row.record_kind is not None and not row.is_gone,
            is_gone=row.is_gone,
        )
        for row in rows
    }


def _gone(connection: Connection, source: str, call_refs: Sequence[str]) -> dict[str, StoredCall]:
    rows = connection.execute(text(_GONE), {"call_refs": list(call_refs), "source": source})
    return {row.call_ref: StoredCall(row.record_id, row.call_ref, frozenset(), is_gone=True) for row in rows}


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
                "contents": [json.dumps(content_of(source, call)) for call in new],
            },
        )


def replace_pulled(connection: Connection, source: str, real: Sequence[tuple[NewCall, int]]) -> None:
    """Put real records in the place of calls that were pulled: their charges are taken back, and they are done anew.

    By a function of the database, which looks whether each was pulled: no worker may change a call itself.

    Args:
        connection: the transaction of the step that read the records.
        source: the dialler.
        real: each record with the id of its call.
    """
    reopen_all(connection, {(batch_of(call_id), Step.CLASSIFY) for _, call_id in real})
    for new, call_id in real:
        connection.execute(
            text("SELECT replace_pulled(:record_id, cast(:content AS jsonb))"),
            {"record_id": new.record_id, "content": json.dumps(content_of(source, new))},
        )
        tell(connection, "call.corrected", [(call_id, new.record_id)])


def insert_duplicates(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Count records that say nothing new: pairs of record id and the id of the call they repeat."""
    if pairs:
        copy_rows(connection, duplicates, ("record_id", "call_id"), pairs)
