"""What billing reads of a call comes by name, in the order of `Unbilled`."""

from __future__ import annotations

import re

from pipeline.billing import billed_calls, ledger
from pipeline.billing.rules.pricing import Unbilled
from pipeline.billing.rules.sides import Side
from pipeline.database.tables import calls


def test_each_field_has_the_column_of_its_name() -> None:
    fields = list(Unbilled._fields)
    of_provider = ledger.UNBILLED_COLUMNS_OF[Side.PROVIDER]
    assert re.findall(r" AS (\w+)", ledger.UNBILLED_COLUMNS) == fields[:-3]
    assert re.findall(r" AS (\w+)", of_provider) == fields[:-1]
    for name in set(fields[:-1]) - {"call_id", "disposition", "revision", "answered_seconds"}:
        assert f"c.{name} AS {name}" in of_provider
        assert name in calls.c


def test_both_queries_select_them_first() -> None:
    for side, columns in ledger.UNBILLED_COLUMNS_OF.items():
        assert ledger._UNBILLED[side].startswith(f"\nSELECT {columns}\nFROM")
        assert billed_calls._OUTCOMES[side].startswith(f"\nSELECT {columns},\n")
