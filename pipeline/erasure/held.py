"""All that is held of a number, place by place: what a person is told who asks, and what erasing would take out."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import or_, select, tuple_

from pipeline.calls.erased import new_name
from pipeline.calls.rules.rewriting import rewrite_record
from pipeline.calls.rules.rewriting_values import CONTACT
from pipeline.database import tables
from pipeline.database.narrowing import among
from pipeline.erasure.elsewhere import ids_elsewhere
from pipeline.erasure.of_calls import ids_of
from pipeline.erasure.sweep import TABLES, holds, rows_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Table

    from pipeline.calls.rules.spellings import Spelled

STAYING: Final = ("dispositions", "ledger")
"""What is of the number's calls and says nothing of it."""


def held_of(connection: Connection, spelled: Spelled) -> dict[str, list[dict[str, Any]]]:
    """The rows of each place that hold a number, or are of its calls.

    Args:
        connection: a transaction, in which all is seen as of one moment.
        spelled: the number.

    Returns:
        By table, each row by its columns; places that hold nothing are left out.
    """
    call_ids = ids_of(connection, spelled.number)
    record_ids = _records_of(connection, call_ids)
    found: dict[str, list[Mapping[str, Any]]] = {
        "calls": _rows(connection, tables.calls, among(tables.calls.c.id, call_ids)),
        "contacts": _contacts(connection, call_ids),
    }
    for name in ("uncharged", "recordings", *STAYING):
        table = tables.metadata.tables[name]
        found[name] = _rows(connection, table, among(table.c.call_id, call_ids))
    found |= _of_records(connection, spelled, record_ids)
    for name in TABLES:
        rows = [row._asdict() for row in rows_with(connection, spelled, name) if holds(row, spelled, name)]
        found[name] = [*found.get(name, []), *rows]
    return {name: [_plain(row) for row in rows] for name, rows in found.items() if rows}


def counted(held: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """How many rows of each place erasing would change or delete.

    >>> counted({"calls": [{}, {}], "ledger": [{}]})
    {'calls': 2}
    """
    return {name: len(rows) for name, rows in held.items() if name not in STAYING}


def _records_of(connection: Connection, call_ids: Sequence[int]) -> set[int]:
    """All records that say something of calls."""
    repeats, versions = tables.duplicates.c, tables.revisions.c
    return {
        *call_ids,
        *connection.scalars(select(repeats.record_id).where(among(repeats.call_id, call_ids))),
        *connection.scalars(select(versions.record_id).where(among(versions.call_id, call_ids))),
    }


def _of_records(connection: Connection, spelled: Spelled, record_ids: set[int]) -> dict[str, list[Mapping[str, Any]]]:
    ids = sorted(record_ids | set(ids_elsewhere(connection, spelled)))
    name = new_name(spelled.number)
    raw = {
        table.name: [
            row
            for row in _rows(connection, table, among(table.c.record_id, ids))
            if rewrite_record(row["raw"], spelled, name) != row["raw"]
        ]
        for table in (tables.inbox, tables.edits)
    }
    about = sorted(record_ids | {row["record_id"] for rows in raw.values() for row in rows})
    return raw | {
        table.name: _rows(connection, table, among(table.c.record_id, about))
        for table in (tables.revisions, tables.conflicts)
    }


def _contacts(connection: Connection, call_ids: Sequence[int]) -> list[Mapping[str, Any]]:
    of, named = tables.contacts.c, tables.calls.c
    keys = (
        select(named[CONTACT], named.campaign_ref, named.source)
        .where(among(named.id, call_ids), named[CONTACT].is_not(None))
        .distinct()
    )
    wanted = connection.execute(keys).all()
    return _rows(
        connection,
        tables.contacts,
        tuple_(of.contact_ref, of.campaign_ref, of.source).in_([tuple(key) for key in wanted]),
    )


def _rows(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> list[Mapping[str, Any]]:
    found: Iterable[Row[Any]] = connection.execute(
        select(table).where(or_(*conditions)).order_by(*table.primary_key)
    ).all()
    return [row._asdict() for row in found]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _text(value) if isinstance(value, bytes) else value for name, value in row.items()}


def _text(value: bytes) -> str:
    """Bytes as they read; in base64 where they are no text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
