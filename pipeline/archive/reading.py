"""Calls as the database has them, as rows of the archive: a query a table for some thousand of them.

Each column becomes one array as it is, and no row is an object of its own; the calls come by the order of their ids.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from pipeline.archive.arrow import arrow
from pipeline.archive.columns import CALL, DISPOSITION, LISTS, RECORDING, of_sides, schema
from pipeline.archive.rules.amounts import decimals_of
from pipeline.archive.rules.refused import NotWritableError
from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.sides import Side
from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from pipeline.archive.columns import Group

    Row = tuple[Any, ...]

_IDS: Final = "unnest(%(ids)s::bigint[]) AS wanted (id)"
# SQL: each call's rows are looked up by its id, whatever its day and however its table is cut.
_CALLS: Final = f"SELECT {', '.join(CALL.selected)} FROM calls AS t JOIN {_IDS} ON t.id = wanted.id ORDER BY t.id"
_ONE_EACH: Final = "FROM {ids} LEFT JOIN {table} AS t ON t.{key} = wanted.id ORDER BY wanted.id"
_OF_CALLS: Final = {
    "lines": "FROM ledger AS t WHERE t.call_id = ANY(%(ids)s::bigint[]) ORDER BY t.call_id, t.side, t.revision, t.kind",
    "uncharged": "FROM uncharged AS t WHERE t.call_id = ANY(%(ids)s::bigint[]) ORDER BY t.call_id, t.side",
    "duplicates": "FROM duplicates AS t WHERE t.call_id = ANY(%(ids)s::bigint[]) ORDER BY t.call_id, t.record_id",
    "versions": "FROM revisions AS t WHERE t.call_id = ANY(%(ids)s::bigint[]) ORDER BY t.call_id, t.record_id",
}
_OTHER_RECORDS: Final = """
SELECT other.call_id, other.record_id, t.raw
FROM (SELECT call_id, record_id FROM duplicates WHERE call_id = ANY(%(ids)s::bigint[])
      UNION SELECT call_id, record_id FROM revisions WHERE call_id = ANY(%(ids)s::bigint[])) AS other
JOIN inbox AS t ON t.record_id = other.record_id
ORDER BY other.call_id, other.record_id
"""


def read_rows(connection: Connection, ids: Sequence[int]) -> Any:
    """The rows of the archive of some calls.

    Args:
        connection: the database, in one state of it.
        ids: which; one that has no call is left out.

    Returns:
        A table of ``schema()``, by the calls' ids.

    Raises:
        NotWritableError: a value is larger than the archive can hold.
    """
    found = _fetch(connection, _CALLS, ids)
    ids = [row[0] for row in found]
    lists = {name: _lists_of(connection, name, ids) for name in LISTS}
    arrays = [
        *_flat(CALL, found),
        *_flat(DISPOSITION, _one_each(connection, DISPOSITION, ids)),
        *_sides(ids, lists["lines"], lists["uncharged"]),
        _recording(_one_each(connection, RECORDING, ids)),
        *(_list(ids, rows, LISTS[name].fields(), LISTS[name]) for name, rows in lists.items()),
        _array([row[1] for row in _raw(connection, ids)], schema().field("raw")),
        _list(ids, _fetch(connection, _OTHER_RECORDS, ids), list(schema().field("other_records").type.value_type)),
    ]
    return arrow().types.Table.from_arrays(arrays, schema=schema())


def _fetch(connection: Connection, query: str, ids: Sequence[int]) -> list[Row]:
    # The driver looks at each number of a list by itself, which takes as long as to read the rows.
    return execute(connection, query, {"ids": f"{{{','.join(map(str, ids))}}}"}).fetchall()


def _one_each(connection: Connection, group: Group, ids: Sequence[int]) -> list[Row]:
    names = ", ".join(("t.call_id", *group.selected))
    return _fetch(
        connection, f"SELECT {names} {_ONE_EACH.format(ids=_IDS, table=group.table.name, key='call_id')}", ids
    )


def _raw(connection: Connection, ids: Sequence[int]) -> list[Row]:
    query = _ONE_EACH.format(ids=_IDS, table="inbox", key="record_id")
    return _fetch(connection, f"SELECT wanted.id, t.raw {query}", ids)


def _lists_of(connection: Connection, name: str, ids: Sequence[int]) -> list[Row]:
    return _fetch(connection, f"SELECT t.call_id, {', '.join(LISTS[name].selected)} {_OF_CALLS[name]}", ids)


def _flat(group: Group, rows: list[Row]) -> list[Any]:
    """The arrays of a group's fields; of rows that begin with the call's id, that is passed over."""
    columns = list(zip(*rows, strict=True)) or [()] * len(group.names)
    return list(_arrays(group, columns[len(columns) - len(group.names) :]))


def _arrays(group: Group, columns: Sequence[Sequence[Any]]) -> Iterator[Any]:
    fields = iter(group.fields())
    for name, values in zip(group.names, columns, strict=True):
        yield _array(values, next(fields))
        if group.is_amount(name):
            yield _array([None if each is None else decimals_of(each) for each in values], next(fields))


def _array(values: Sequence[Any], field: Any) -> Any:
    types = arrow().types
    try:
        return types.array(values, field.type)
    except (types.ArrowInvalid, OverflowError) as error:
        raise NotWritableError(
            f"{field.name}: a value is more than the archive can hold as {field.type}: {error}"
        ) from None


def _recording(rows: list[Row]) -> Any:
    types = arrow().types
    none = types.array([row[0] is None for row in rows], types.bool_())
    return types.StructArray.from_arrays(_flat(RECORDING, rows), fields=RECORDING.fields(), mask=none)


def _list(ids: Sequence[int], rows: list[Row], fields: list[Any], group: Group | None = None) -> Any:
    """Rows that begin with their call's id, in its order, as a list for each call."""
    types = arrow().types
    sizes = {call_id: len(list(of)) for call_id, of in groupby(rows, key=itemgetter(0))}
    ends, end = [0], 0
    for call_id in ids:
        end += sizes.get(call_id, 0)
        ends.append(end)
    columns = list(zip(*rows, strict=True))[1:] or [()] * (len(group.names) if group is not None else len(fields))
    if group is None:
        arrays = [_array(values, field) for values, field in zip(columns, fields, strict=True)]
    else:
        arrays = list(_arrays(group, columns))
    elements = types.StructArray.from_arrays(arrays, fields=fields)
    return types.ListArray.from_arrays(types.array(ends, types.int32()), elements)


_LINE: Final = tuple(LISTS["lines"].names.index(name) + 1 for name in ("kind", "side", "amount", "currency"))
_SECONDS: Final = LISTS["lines"].names.index("billable_seconds") + 1
_REASON: Final = tuple(LISTS["uncharged"].names.index(name) + 1 for name in ("side", "reason"))


def _sides(ids: Sequence[int], lines: list[Row], reasons: list[Row]) -> list[Any]:
    """What is in force on each side: a call's last line, if that is a charge; else why there is none."""
    kind, side, amount, currency = _LINE
    last = {(line[0], line[side]): line for line in lines}
    why = {(row[0], row[_REASON[0]]): row[_REASON[1]] for row in reasons}
    fields = iter(of_sides())
    arrays: list[Any] = []
    for each in Side:
        found = [last.get((call_id, each.value)) for call_id in ids]
        charges = [line if line is not None and line[kind] == LineKind.CHARGE.value else None for line in found]
        columns = [[None if line is None else line[at] for line in charges] for at in (amount, currency, _SECONDS)]
        columns.append([why.get((call_id, each.value)) for call_id in ids])
        arrays += [_array(values, next(fields)) for values in columns]
    return arrays
