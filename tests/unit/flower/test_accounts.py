"""The bars of a run, and what an address of the tab may ask for."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from pipeline.accounts.rules.classes import DISPUTES, ItemClass
from pipeline.accounts.rules.hidden import hidden
from pipeline.accounts.rules.reconciling import Sums
from pipeline.flower.accounts.asked import Asked, as_query, read_asked
from pipeline.flower.accounts.bars import bars_of


def run(**classes):
    """A run of which these classes have something: lines, calls, money there and money here."""
    totals = {each.value: Sums().as_dict() for each in ItemClass}
    there, here = set(), set()
    for name, (lines, calls, money_there, money_here) in classes.items():
        figures = {"lines": lines, "calls": calls, "money_there": money_there, "money_here": money_here}
        totals[name.replace("_", " ")] |= figures
        there, here = there | set(money_there), here | set(money_here)
    inputs = {"money_there": dict.fromkeys(there, "0"), "money_here": dict.fromkeys(here, "0")}
    return SimpleNamespace(totals=totals, inputs=inputs)


def test_both_sides_of_a_currency_are_on_one_scale():
    bars = bars_of(run(equal=(4, 4, {"ZAR": "6"}, {"ZAR": "6"}), rate=(1, 1, {"ZAR": "6"}, {"ZAR": "0.6"})))
    counts, there, here = bars
    assert (counts.whole, counts.width) == (10, 100.0)
    assert (there.width, here.width) == (100.0, 55.0)
    assert there.said == "asked for there, 12.00 ZAR: equal 6.00, rate 6.00"
    assert here.said == "expected here, 6.60 ZAR: equal 6.00, rate 0.60"


def test_each_currency_has_bars_of_its_own():
    bars = bars_of(run(currency=(1, 1, {"USD": "1"}, {"ZAR": "18"}), missing_here=(1, 0, {"USD": "2"}, {})))
    assert [(bar.unit, bar.whole, bar.width) for bar in bars[1:]] == [
        ("USD", Decimal(3), 100.0),
        ("USD", Decimal(0), 0.0),
        ("ZAR", Decimal(0), 0.0),
        ("ZAR", Decimal(18), 100.0),
    ]


def test_a_credit_and_an_empty_run_break_no_bar():
    credit = bars_of(run(missing_here=(1, 0, {"ZAR": "-5"}, {})))
    assert [bar.parts for bar in credit[1:]] == [[], []]
    [nothing] = bars_of(run())
    assert nothing.said == "lines and calls, 0: nothing"


@pytest.mark.parametrize("each", [each for each in ItemClass if each is not ItemClass.EQUAL])
def test_a_class_goes_into_an_address_and_back(each):
    asked = Asked("Acme & Sons", "2026-11", each.value)
    assert read_asked({"provider": asked.provider, "month": asked.month, "class": each.value}, "UTC") == (asked, {})
    assert f"class={each.value.replace(' ', '+')}" in as_query(asked)
    assert asked.classes == (each,)


def test_without_a_class_all_disputes_are_listed():
    asked, problems = read_asked({"provider": "", "month": "", "class": ""}, "UTC")
    assert (asked.classes, problems, as_query(asked)) == (DISPUTES, {}, "")
    assert set(read_asked({"provider": "\0", "month": "x", "class": "equal"}, "UTC")[1]) == {
        "provider",
        "month",
        "class",
    }


def test_no_digit_of_a_number_is_left():
    """Nor of a line as it came; what is not there stays so."""
    item = {"number": "+27820001234", "caller_there": None, "as_it_came": "27820001234;60", "cause": None, "line": 7}
    assert hidden(item) == {**item, "number": "***", "as_it_came": "***"}
