"""Rows of the archive as rows of the tables: put beside them, compared with what is there, and inserted if missing.

What is there and has the same key must be the same in every column, but for what changes when somebody looks at a
stored file; and a call that is there must have no line or reason that the archive does not know.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb
from sqlalchemy import MetaData, text
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.archive.columns import (
    CALL,
    DECIMALS,
    DISPOSITION,
    DUPLICATES,
    LINES,
    LISTS,
    LONG_NUMBERS,
    RECORDING,
    UNCHARGED,
    VERSIONS,
)
from pipeline.archive.rules.amounts import as_written
from pipeline.archive.state import LOOKED_AT
from pipeline.calls.rules.disposition import COMMON
from pipeline.database.engine import copy_rows
from pipeline.database.tables import (
    calls,
    dispositions,
    duplicates,
    inbox,
    ledger,
    recordings,
    revisions,
    uncharged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Table

    from pipeline.archive.columns import Group

    Column = Sequence[Any]

RESTORED: Final = (inbox, calls, dispositions, uncharged, ledger, recordings, duplicates, revisions)
"""The tables that rows go back to, in this order."""
_OF_CALLS: Final = {table.name for table in (dispositions, uncharged, ledger, recordings, duplicates, revisions)}
_BESIDE: Final = "restoring_"
_MAY_DIFFER: Final = {recordings.name: LOOKED_AT, dispositions.name: {"call_dialed_at"}}
"""Columns in which a row that is there need not be as it is archived; code of a version before gave no instant."""


class Restoring:
    """Rows that are about to be restored, in tables of this transaction alone.

    Args:
        connection: the transaction that will insert them.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        elsewhere = MetaData()
        self._beside = {table.name: table.to_metadata(elsewhere, name=_BESIDE + table.name) for table in RESTORED}
        for table in RESTORED:
            connection.execute(text(f"CREATE TEMP TABLE {_BESIDE}{table.name} (LIKE {table.name}) ON COMMIT DROP"))

    def take(self, table: Any) -> None:
        """Take the rows of a table of the archive."""
        ids = table["id"].to_pylist()
        self._copy(calls, CALL.names, _columns(CALL, table))
        ended = [ids, *_columns(DISPOSITION, table), _beside_what_is_seldom(table)]
        self._copy(dispositions, ("call_id", *DISPOSITION.names, "call_dialed_at"), ended, needs=1)
        own = table.select(["source", "call_ref"])
        recording = _columns(RECORDING, _struct(table["recording"].combine_chunks()))
        keys = [ids, *(column.to_pylist() for column in own.columns)]
        self._copy(recordings, ("call_id", "source", "call_ref", *RECORDING.names), [*keys, *recording], needs=3)
        for name, into, group in (
            ("lines", ledger, LINES),
            ("uncharged", uncharged, UNCHARGED),
            ("duplicates", duplicates, DUPLICATES),
            ("versions", revisions, VERSIONS),
        ):
            owners, elements = _elements(table[name], ids)
            self._copy(into, ("call_id", *LISTS[name].names), _with(owners, _columns(group, elements)))
        self._copy(inbox, ("record_id", "raw"), [ids, table["raw"].to_pylist()], needs=1)
        _, others = _elements(table["other_records"], ids)
        self._copy(inbox, ("record_id", "raw"), [others["record_id"].to_pylist(), others["raw"].to_pylist()])

    def _copy(self, into: Table, names: Sequence[str], columns: Iterable[Column], *, needs: int | None = None) -> None:
        """Copy rows; those whose column at ``needs`` is null are of a call that has none."""
        rows: Iterator[tuple[Any, ...]] = zip(*columns, strict=True)
        if needs is not None:
            rows = (row for row in rows if row[needs] is not None)
        copy_rows(self._connection, self._beside[into.name], names, rows)

    def differences(self) -> list[str]:
        """What of it is in the database otherwise, in words."""
        for table in RESTORED:
            self._connection.execute(text(f"ANALYZE {_BESIDE}{table.name}"))
        found = list(chain.from_iterable(map(self._differing, RESTORED)))
        taken = self._connection.execute(text(_KEY_TAKEN)).one()
        if taken.rows:
            found.append(f"calls: {taken.rows} references are those of other records, the first {taken.first}")
        return found

    def _differing(self, table: Table) -> Iterator[str]:
        same = " AND ".join(f"t.{key.name} = r.{key.name}" for key in table.primary_key)
        key = next(iter(table.primary_key)).name
        names = [column.name for column in table.columns if column.name not in _MAY_DIFFER.get(table.name, ())]
        here, there = (", ".join(f"{of}.{name}" for name in names) for of in "tr")
        queries = {
            "differ": f"FROM {_BESIDE}{table.name} AS r JOIN {table.name} AS t ON {same} "
            f"WHERE ROW({here}) IS DISTINCT FROM ROW({there})"
        }
        if table.name in _OF_CALLS:
            queries["are not archived"] = (
                f"FROM {table.name} AS t WHERE t.call_id IN (SELECT id FROM {_BESIDE}calls) "
                f"AND NOT EXISTS (SELECT FROM {_BESIDE}{table.name} AS r WHERE {same})"
            )
        for what, query in queries.items():
            rows, first = self._connection.execute(text(f"SELECT count(*), min(t.{key}) {query}")).one()
            if rows:
                yield f"{table.name}: {rows} rows {what}, the first of {key} {first}"

    def span(self) -> tuple[int, int]:
        """The first and the last record of what was taken."""
        first, last = self._connection.execute(text(f"SELECT min(record_id), max(record_id) FROM {_BESIDE}inbox")).one()
        calls_of = text(f"SELECT min(id), max(id) FROM {_BESIDE}calls")
        found = [each for each in (first, last, *self._connection.execute(calls_of).one()) if each is not None]
        return (min(found), max(found)) if found else (0, -1)

    def enter_keys(self) -> None:
        """Enter the keys of the calls, which `insert` then leaves alone."""
        self._connection.execute(
            text(
                "INSERT INTO call_keys (call_ref, source, record_id) SELECT call_ref, source, id "
                f"FROM {_BESIDE}calls ORDER BY call_ref, source ON CONFLICT DO NOTHING"
            )
        )
        self._connection.execute(text("SELECT set_config('cdr.enters_keys', 'on', true)"))

    def insert(self, table: Table) -> int:
        """Insert the rows of a table that are not there; returns how many."""
        same = " AND ".join(f"t.{key.name} = r.{key.name}" for key in table.primary_key)
        names = ", ".join(column.name for column in table.columns)
        missing = f"NOT EXISTS (SELECT FROM {table.name} AS t WHERE {same})"
        query = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_BESIDE}{table.name} AS r WHERE {missing}"
        return int(self._connection.execute(text(query)).rowcount)


# Where the tables are not ranges yet, not every call's key is entered.
_KEY_TAKEN: Final = (
    "SELECT count(*) AS rows, min(r.call_ref) AS first FROM restoring_calls AS r "
    "WHERE EXISTS (SELECT FROM calls AS t WHERE t.call_ref = r.call_ref AND t.source = r.source AND t.id <> r.id) "
    "OR EXISTS (SELECT FROM call_keys AS t "
    '           WHERE t.call_ref = r.call_ref COLLATE "C" AND t.source = r.source COLLATE "C" AND t.record_id <> r.id)'
)


def _beside_what_is_seldom(table: Any) -> Column:
    """When each call was dialled, as it stands beside a seldom disposition."""
    pairs = zip(table["disposition"].to_pylist(), table["dialed_at"].to_pylist(), strict=True)
    return [None if disposition in COMMON else dialed_at for disposition, dialed_at in pairs]


def _with(first: Column, others: Iterable[Column]) -> list[Column]:
    return [first, *others]


def _struct(structs: Any) -> Any:
    """An array of structs as columns by name; those of a null are null."""
    return {field.name: part for field, part in zip(structs.type, structs.flatten(), strict=True)}


def _elements(column: Any, ids: Sequence[int]) -> tuple[list[int], Any]:
    """A column of lists: the call of each element, and the elements as columns by name."""
    whole = column.combine_chunks()
    sizes = whole.value_lengths().to_pylist()
    owners = list(chain.from_iterable(map(repeat, ids, sizes)))
    return owners, _struct(whole.flatten())


def _columns(group: Group, columns: Any) -> list[Column]:
    """The values of a group's columns, as the tables have them."""
    return [_values(group, name, columns) for name in group.names]


def _values(group: Group, name: str, columns: Any) -> Column:
    values: list[Any] = columns[name].to_pylist()
    if group.is_amount(name):
        decimals = columns[f"{name}{DECIMALS}"].to_pylist()
        return [
            amount if amount is None else as_written(amount, at) for amount, at in zip(values, decimals, strict=True)
        ]
    if name in LONG_NUMBERS:
        return [value if value is None else Decimal(value) for value in values]
    if isinstance(group.table.c[name].type, JSONB):
        return [value if value is None else Jsonb(value, dumps=str) for value in values]
    return values
