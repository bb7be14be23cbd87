"""What the rows of a table add up to, worked out by columns."""

from __future__ import annotations

from typing import Any

from pipeline.archive.arrow import arrow
from pipeline.archive.rules.amounts import without_zeros
from pipeline.archive.rules.sums import SideSums, Sums
from pipeline.billing.rules.sides import Side


def sums_of(table: Any) -> Sums:
    """What some rows come to."""
    return Sums(
        table.num_rows,
        _sum(table["talk_seconds"]),
        *(_side(table, side.value) for side in (Side.CLIENT, Side.PROVIDER)),
    )


def _side(table: Any, side: str) -> SideSums:
    compute = arrow().compute
    charged = compute.is_valid(table[f"{side}_amount"])
    reason = compute.and_not(compute.is_valid(table[f"{side}_not_charged"]), charged)
    with_charge, with_reason = (_sum(each.cast("int64")) for each in (charged, reason))
    money = table.select([f"{side}_currency", f"{side}_amount"]).filter(charged)
    by_currency = money.group_by(f"{side}_currency").aggregate([(f"{side}_amount", "sum")])
    amounts = zip(*(column.to_pylist() for column in by_currency.columns), strict=True)
    return SideSums(
        with_charge,
        with_reason,
        table.num_rows - with_charge - with_reason,
        _sum(table[f"{side}_billable_seconds"]),
        {currency: without_zeros(amount) for currency, amount in sorted(amounts)},
    )


def _sum(column: Any) -> int:
    return int(arrow().compute.sum(column).as_py() or 0)
