"""What a call's row in the archive holds, derived from the tables, so that no column is named twice.

A call's own columns and those of its disposition stand flat, for whoever asks by them. Its recording is a struct, its
lines of the ledger on both sides, its reasons for none, its duplicates and its replaced versions are lists of structs:
the rows of those tables as they are, so that restoring brings them back. Five columns a side are worked out of the
lines (``OF_SIDES``), for they are what everybody asks for.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB

from pipeline.archive.arrow import arrow
from pipeline.billing.rules.sides import Side
from pipeline.database.tables import calls, dispositions, duplicates, ledger, recordings, revisions, uncharged

if TYPE_CHECKING:
    from sqlalchemy import Table

MONEY: Final = (38, 12)
"""Digits of an amount, and how many of them stand behind the point: as many as a rate or an amount may have."""
LONG_NUMBERS: Final = frozenset({"unrounded"})
"""Up to 40 digits, which no number of Parquet holds everywhere: a text."""
DECIMALS: Final = "_decimals"
"""Behind an amount's name: how many decimals it was written with, so that 1.10 comes back as 1.10."""


class Group(NamedTuple):
    """The columns of a table that are archived, in their order."""

    table: Table
    names: tuple[str, ...]

    @property
    def selected(self) -> tuple[str, ...]:
        """What to select for each, of the table alone."""
        return tuple(self.expression(name) for name in self.names)

    def expression(self, name: str, of: str = "t") -> str:
        """How a column is read from the table called ``of``: what has no type of its own in Parquet as text."""
        as_text = name in LONG_NUMBERS or isinstance(self.table.c[name].type, JSONB)
        return f"{of}.{name}::text" if as_text else f"{of}.{name}"

    def is_amount(self, name: str) -> bool:
        """Whether a column becomes a decimal, with its decimals beside it."""
        return name not in LONG_NUMBERS and isinstance(self.table.c[name].type, Numeric)

    def fields(self) -> list[Any]:
        """Its fields in Parquet."""
        types = arrow().types
        found = []
        for name in self.names:
            found.append(types.field(name, _type(self, name)))
            if self.is_amount(name):
                found.append(types.field(f"{name}{DECIMALS}", types.int8()))
        return found


def _group(table: Table, *left_out: str) -> Group:
    return Group(table, tuple(column.name for column in table.columns if column.name not in left_out))


CALL: Final = _group(calls)
DISPOSITION: Final = _group(dispositions, "call_id", "call_dialed_at")  # that is the call's, beside what is seldom
RECORDING: Final = _group(recordings, "call_id", "source", "call_ref")
LINES: Final = _group(ledger, "call_id")
UNCHARGED: Final = _group(uncharged, "call_id")
DUPLICATES: Final = _group(duplicates, "call_id")
VERSIONS: Final = _group(revisions, "call_id")
LISTS: Final = {"lines": LINES, "uncharged": UNCHARGED, "duplicates": DUPLICATES, "versions": VERSIONS}

_TYPES: Final = {
    BigInteger: "int64",
    Boolean: "bool_",
    Integer: "int32",
    JSONB: "string",
    LargeBinary: "binary",
    Text: "string",
}


def _type(group: Group, name: str) -> Any:
    types, of = arrow().types, type(group.table.c[name].type)
    if of is DateTime:
        return types.timestamp("us", tz="UTC")
    if group.is_amount(name):
        return types.decimal128(*MONEY)
    return types.string() if name in LONG_NUMBERS else getattr(types, _TYPES[of])()


def of_sides() -> list[Any]:
    """What is worked out of a call's lines, by side: its charge in force, or why there is none."""
    types = arrow().types
    return [
        types.field(f"{side.value}_{name}", of)
        for side in Side
        for name, of in (
            ("amount", types.decimal128(*MONEY)),
            ("currency", types.string()),
            ("billable_seconds", types.int32()),
            ("not_charged", types.string()),
        )
    ]


@functools.cache
def schema() -> Any:
    """All columns of a row, in their order."""
    types = arrow().types
    records = types.struct([types.field("record_id", types.int64()), types.field("raw", types.binary())])
    return types.schema(
        [
            *CALL.fields(),
            *DISPOSITION.fields(),
            *of_sides(),
            types.field("recording", types.struct(RECORDING.fields())),
            *(types.field(name, _list_of(types.struct(group.fields()))) for name, group in LISTS.items()),
            types.field("raw", types.binary()),
            types.field("other_records", _list_of(records)),
        ]
    )


def _list_of(kind: Any) -> Any:
    types = arrow().types
    return types.list_(types.field("element", kind))
