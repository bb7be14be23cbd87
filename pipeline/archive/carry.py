"""What the database has no longer is carried over from the part that is written anew.

Raw records, charges and recordings may be dropped before their calls are, and calls of a day in two ranges not at
once. What is in the archive stays in it, whatever is left of it in the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.archive.arrow import arrow
from pipeline.archive.columns import DISPOSITION, of_sides, schema
from pipeline.billing.rules.sides import Side

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def carry_over(new: Any, old: Any, kept: Collection[int]) -> Any:
    """The rows of some calls, with what only the old part has.

    Args:
        new: rows as the database has them, by their ids.
        old: rows of the part before, of ids among these and of others.
        kept: ids of calls that the database has no longer; their old rows stay.

    Returns:
        A table of both, by their ids.
    """
    types, compute = arrow().types, arrow().compute
    if kept:
        stays = old.filter(compute.is_in(old["id"], types.array(sorted(kept), types.int64())))
        new = types.concat_tables([new, stays]).combine_chunks().sort_by("id")
    return _with_lost(new, old)


def _with_lost(new: Any, old: Any) -> Any:
    """The same, each group of columns from the old row where the new one has less."""
    places = {call_id: place for place, call_id in enumerate(old["id"].to_pylist())}
    found = [places.get(call_id) for call_id in new["id"].to_pylist()]
    if not old.num_rows or all(place is None for place in found):
        return new
    both = arrow().types.concat_tables([old, new])
    for names, held in _groups():
        before, after = held(old), held(new)
        taken = [
            place if place is not None and before[place] > after[at] else old.num_rows + at
            for at, place in enumerate(found)
        ]
        if any(place < old.num_rows for place in taken):
            for name in names:
                new = new.set_column(new.schema.get_field_index(name), schema().field(name), both[name].take(taken))
    return new


def _has(name: str) -> Callable[[Any], list[int]]:
    return lambda table: table[name].is_valid().cast("int8").to_pylist()


def _length(name: str) -> Callable[[Any], list[int]]:
    return lambda table: arrow().compute.list_value_length(table[name]).to_pylist()


def _decided(table: Any) -> list[int]:
    """On how many sides it is decided what a call costs: a reason alone may go, when the call is rated anew."""
    compute = arrow().compute
    sides = [
        compute.or_(table[f"{side.value}_amount"].is_valid(), table[f"{side.value}_not_charged"].is_valid())
        for side in Side
    ]
    return [sum(each) for each in zip(*(side.to_pylist() for side in sides), strict=True)]


def _groups() -> list[tuple[list[str], Callable[[Any], list[int]]]]:
    """Columns that come from one table, and how much of it a row has. The ledger is only ever added to."""
    reasons = [field.name for field in of_sides() if field.name.endswith("_not_charged")]
    charges = [field.name for field in of_sides() if field.name not in reasons]
    return [
        (["raw"], _has("raw")),
        (["other_records"], _length("other_records")),
        (["duplicates"], _length("duplicates")),
        (["versions"], _length("versions")),
        ([*DISPOSITION.names], _has("disposition")),
        (["recording"], _has("recording")),
        (["uncharged", *reasons], _decided),
        (["lines", *charges], _length("lines")),
    ]
