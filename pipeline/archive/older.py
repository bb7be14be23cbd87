"""Parts that a version before wrote: what a recording's row has had since is null in them."""

from __future__ import annotations

from typing import Any, Final

from pipeline.archive.arrow import arrow
from pipeline.archive.columns import schema

RECORDING: Final = "recording"
SINCE: Final = frozenset({"key_month"})


def is_older(columns: Any) -> bool:
    """Whether these are the columns of such a part.

    Args:
        columns: a schema of Parquet.
    """
    types, at = arrow().types, schema().get_field_index(RECORDING)
    before = [field for field in schema().field(RECORDING).type if field.name not in SINCE]
    return bool(columns.equals(schema().set(at, types.field(RECORDING, types.struct(before)))))


def completed(table: Any) -> Any:
    """The rows of such a part as those of this version have them.

    Args:
        table: rows with all columns or some of them.
    """
    at = table.schema.get_field_index(RECORDING)
    if at < 0:
        return table
    types, field = arrow().types, schema().field(RECORDING)
    array = table[RECORDING].combine_chunks()
    known = dict(zip((each.name for each in array.type), array.flatten(), strict=True))
    parts = [known[each.name] if each.name in known else types.nulls(len(array), each.type) for each in field.type]
    whole = types.StructArray.from_arrays(parts, fields=list(field.type), mask=array.is_null())
    return table.set_column(at, field, whole)
