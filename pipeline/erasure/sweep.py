"""Tables that are looked through as a whole: the number replaced where it stands, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, LargeBinary, Text, cast, delete, func, or_, select, tuple_, update

from pipeline.calls.erased import new_name
from pipeline.calls.rules.erased import ERASED
from pipeline.calls.rules.rewriting_values import rewrite_json
from pipeline.database.tables import calls, metadata, reconcile_items, reconcile_runs
from pipeline.erasure.rules.places import DROPPED, SWEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Table

    from pipeline.calls.rules.spellings import Spelled

ROWS_AT_ONCE: Final = 500

TABLES: Final = (*SWEPT, *DROPPED)


def rows_with(
    connection: Connection, spelled: Spelled, name: str, *, after: Sequence[Any] | None = None, limit: int | None = None
) -> list[Row[Any]]:
    """Rows of one of `TABLES` that may hold the number, by their key.

    Args:
        connection: the database.
        spelled: the number.
        name: the table's.
        after: the key of the last row that was looked at.
        limit: the most rows.
    """
    table = metadata.tables[name]
    keys = list(table.primary_key)
    query = select(table).where(or_(*(_as_text(each).op("~")(spelled.sql) for each in columns_of(name))))
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*after))
    return list(connection.execute(query.order_by(*keys).limit(limit)).all())


def columns_of(name: str) -> list[Column[Any]]:
    """The columns of one of `TABLES` that can hold a number."""
    table = metadata.tables[name]
    names = SWEPT.get(name) or (DROPPED[name],)
    return [column for column in table.columns if column.name in names]


def _as_text(column: Column[Any]) -> ColumnElement[str]:
    return func.encode(column, "escape") if isinstance(column.type, LargeBinary) else cast(column, Text)


def holds(row: Row[Any], spelled: Spelled, name: str, stand_in: str = "") -> dict[str, Any]:
    """What a row says instead, without the number, by the columns' keys; empty: it does not hold it."""
    told = {each.key: rewrite_json(getattr(row, each.key), spelled, stand_in) for each in columns_of(name)}
    return {key: value for key, value in told.items() if value != getattr(row, key)}


def sweep(connection: Connection, spelled: Spelled, name: str, rows: Sequence[Row[Any]]) -> int:
    """Take the number out of rows; returns out of how many.

    Args:
        connection: the caller's transaction.
        spelled: the number.
        name: the table's.
        rows: as `rows_with` has them.
    """
    table = metadata.tables[name]
    changed = 0
    for row in rows:
        stand_in = (name == "provider_lines" and _name_of_its_call(connection, row.id)) or new_name(spelled.number)
        if new := holds(row, spelled, name, stand_in):
            this = [each == getattr(row, each.key) for each in table.primary_key]
            statement = delete(table) if name in DROPPED else update(table).values(**new)
            changed += connection.execute(statement.where(*this)).rowcount
    return changed


def _name_of_its_call(connection: Connection, line_id: int) -> str | None:
    """What a line that was matched has in common with its call, so that they match again."""
    of, its = calls.c, reconcile_items.c
    return connection.scalar(
        select(of.client_number)
        .join(reconcile_items, its.call_id == of.id)
        # Run by run: that is how the items are indexed.
        .where(its.run_id.in_(select(reconcile_runs.c.id)), its.line_id == line_id)
        .where(func.starts_with(of.client_number, ERASED))
        .limit(1)
    )


def key_of(row: Row[Any], name: str) -> tuple[Any, ...]:
    """The key of a row, to go on behind it."""
    return tuple(getattr(row, each.key) for each in _key(metadata.tables[name]))


def _key(table: Table) -> Sequence[Column[Any]]:
    return list(table.primary_key)
