"""Amounts come back as they were written."""

from __future__ import annotations

from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.columns import LISTS, LONG_NUMBERS, MONEY, schema
from pipeline.archive.rules.amounts import EXACT, as_written, decimals_of, without_zeros
from pipeline.billing.rules.rating import MONEY_DECIMALS
from pipeline.database.tables import calls, ledger, recordings


@given(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=7),
    st.integers(7, 12),
)
def test_as_a_column_holds_it_and_back(amount, decimals):
    """A column has twelve decimals whatever it was written with."""
    written = amount.quantize(Decimal(1).scaleb(-decimals), context=EXACT)
    held = written.quantize(Decimal(1).scaleb(-MONEY[1]), context=EXACT)
    back = as_written(held, decimals_of(written))
    assert str(back) == str(written)
    assert without_zeros(held) == amount
    assert not str(without_zeros(held)).endswith("0") or "." not in str(without_zeros(held))


def test_no_digit_is_lost_in_silence():
    with pytest.raises(Inexact):
        as_written(Decimal("1.190000000001"), 2)


def test_a_column_of_money_holds_all_that_a_rate_may_have():
    assert MONEY[1] == MONEY_DECIMALS


def test_every_column_of_the_tables_is_in_a_row():
    """A column that a migration adds is archived, or this fails."""
    fields = schema().names
    assert set(calls.columns.keys()) <= set(fields)
    assert {column.name for column in ledger.columns} - {"call_id"} == set(LISTS["lines"].names)
    assert set(LISTS["lines"].names) >= LONG_NUMBERS
    recording = {field.name for field in schema().field("recording").type}
    assert recording == {column.name for column in recordings.columns} - {"call_id", "source", "call_ref"}
