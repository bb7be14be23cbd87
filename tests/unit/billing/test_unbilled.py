"""What billing reads of a call comes by name, in the order of `Unbilled`."""

from __future__ import annotations

import re

from pipeline.billing import billed_calls, ledger
from pipeline.billing.rules.pricing import Unbilled
from pipeline.database.tables import calls


def test_each_field_has_the_column_of_its_name() -> None:
    assert re.findall(r" AS (\w+)", ledger.UNBILLED_COLUMNS) == list(Unbilled._fields)
    for name in set(Unbilled._fields) - {"call_id", "disposition", "revision"}:
        assert f"c.{name} AS {name}" in ledger.UNBILLED_COLUMNS
        assert name in calls.c


def test_both_queries_select_them_first() -> None:
    assert ledger._UNBILLED.startswith(f"\nSELECT {ledger.UNBILLED_COLUMNS}\nFROM")
    assert billed_calls._OUTCOMES.startswith(f"\nSELECT {ledger.UNBILLED_COLUMNS},\n")
