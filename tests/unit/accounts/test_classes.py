"""Each line and call has one class and a cause in words, and all of them add up to both inputs."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts.rules.classes import ItemClass, class_of_pair
from pipeline.accounts.rules.matching import Pair
from pipeline.accounts.rules.offset import Offset, Part
from pipeline.accounts.rules.reconciling import Item, Period, Sums, Totals, items_of, unread
from tests.unit.accounts.sides import AT, NONE, TERMS, call, line, unanswered

DAY = 86_400
PERIOD = Period(AT - DAY, AT + DAY, ((AT - DAY, AT + DAY),))


def classed(there, here, *, weak=False, apart=0):
    found = class_of_pair(Pair(there, here, apart, weak), lambda _: TERMS)
    return found.item_class, found.cause


@pytest.mark.parametrize(
    ("there", "here", "item_class", "cause"),
    [
        (line(), call(), "equal", None),
        (line(amount="0.6000"), call(), "equal", None),
        (line(seconds=58), call(), "rounding", "2 s less there, and none after the tariff's increments"),
        (line(seconds=61, billed_seconds=60), call(), "rounding",
         "1 s more there, and none after the tariff's increments"),
        (line(amount="0.5964"), call(unrounded=Decimal("0.5964"), amount=Decimal("0.60")), "rounding",
         "the amounts differ by their decimals alone"),
        (line(seconds=67, amount="0.72"), call(), "seconds", "7 s more there, priced at our rate"),
        (line(seconds=40, amount="0.42"), call(), "seconds", "20 s less there, priced at our rate"),
        (line(seconds=0, amount="0"), call(), "seconds", "60 s less there, priced at our rate"),
        (line(seconds=90), call(), "seconds", "30 s more there, and the amount is the same"),
        (line(amount="6.00"), call(), "rate", "units agree, cost 10.00 times, 6.0000 a minute there"),
        (line(amount="0.59"), call(), "rate", "units agree, cost 0.98 times, 0.5900 a minute there"),
        (line(billed_seconds=120, amount="1.20"), call(), "rate",
         "120 s charged there, 60 s here, of the same duration; cost 2.00 times, 0.6000 a minute there"),
        (line(seconds=72, amount="1.44"), call(), "rate",
         "12 s more there; cost 2.40 times, 1.2000 a minute there"),
        (line(amount="0.60", currency="USD"), call(), "currency",
         "USD there, ZAR here: amounts are not compared"),
        (line(seconds=20, amount="0.30"), unanswered(), "answered there only", "not answered here: zero_seconds"),
        (line(seconds=20, amount="0"), unanswered(), "answered there only", "not answered here: zero_seconds"),
        (line(seconds=0, amount="0"), unanswered(), "equal", None),
        (line(), unanswered(answered=True, why="no answered seconds are known"), "seconds",
         "answered, and not priced here: no answered seconds are known"),
        (line(), unanswered(answered=True, seconds=60, why="no rate for +27820001234 in tariff acme"), "rate",
         "answered, and not priced here: no rate for +27820001234 in tariff acme"),
    ],
)  # fmt: skip
def test_what_a_pair_comes_to(there, here, item_class, cause):
    assert classed(there, here) == (item_class, cause)


def test_what_is_weak_is_only_that():
    """Its difference is said, and counted nowhere else."""
    assert classed(line(), call(), weak=True, apart=-3_700) == (
        ItemClass.WEAK, "by the number alone, 1:01:40 earlier there; else equal")  # fmt: skip
    found, cause = classed(line(amount="6.00"), call(), weak=True, apart=60)
    assert found is ItemClass.WEAK
    assert cause.endswith("later there; units agree, cost 10.00 times, 6.0000 a minute there")


def test_an_amount_is_never_compared_with_one_of_another_currency():
    """The same figure in another currency is not equal, and no factor is made of it."""
    item_class, cause = classed(line(currency="USD"), call())
    assert item_class is ItemClass.CURRENCY
    assert "times" not in cause


def items(lines, calls, period=PERIOD, offset=NONE):
    return list(items_of(lines, calls, period, offset, lambda _: TERMS))


@pytest.mark.parametrize(
    ("lines", "calls", "item_class", "cause"),
    [
        ([line()], [], "missing here", "no call to that number at that time"),
        ([line()], [call(ours=False)], "missing here", "the call is here, but it is none of this provider's"),
        ([line(at=AT + DAY)], [], "outside the period", "the line's time is of another period"),
        ([line(at=AT + DAY - 1)], [call(at=AT + DAY, ours=False)], "outside the period",
         "the call is of another period"),
        ([], [call()], "missing there", "charged here, and no line"),
        ([], [unanswered(answered=True)], "missing there", "answered, and not priced here, and no line"),
        ([], [unanswered()], "equal", "not answered here and not listed there: nothing is due"),
    ],
)  # fmt: skip
def test_what_one_side_has_alone(lines, calls, item_class, cause):
    (item,) = items(lines, calls)
    assert (item.item_class, item.cause) == (item_class, cause)


def test_a_call_at_a_time_that_no_file_covers_says_so():
    """By our clock: the file's, its offset taken off."""
    period = Period(AT - DAY, AT + DAY, ((AT - DAY, AT + 7_200),))
    offset = Offset((Part(None, 7_200),))
    assert items([], [call(at=AT - 1)], period, offset)[0].cause == "charged here, and no line"
    assert items([], [call(at=AT)], period, offset)[0].cause == "no file covers that time"


def test_a_line_is_inside_by_our_clock():
    offset = Offset((Part(None, 7_200),))
    assert items([line(at=AT + DAY + 7_199)], [], offset=offset)[0].item_class == ItemClass.MISSING_HERE
    assert items([line(at=AT + DAY + 7_200)], [], offset=offset)[0].item_class == ItemClass.OUTSIDE


def test_a_line_that_is_listed_again_names_the_other():
    first, again = items([line(1), line(2)], [call()])
    assert (first.item_class, first.line_id) == (ItemClass.EQUAL, 1)
    assert (again.item_class, again.line_id, again.twin_line_id) == (ItemClass.DUPLICATE, 2, 1)


PLACES = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(0, 400), st.sampled_from(["0", "0.30", "0.60", "6.00"]), st.booleans()),
    max_size=8,
)


@settings(deadline=None)
@given(PLACES, PLACES)
def test_the_classes_add_up_to_both_inputs(listed, dialled):
    """Whatever there is: each line and each call that is compared once, with its seconds and its money."""
    lines = [
        line(number, AT + days * DAY + at, at % 90, amount=amount, currency="ZAR" if rand else "USD")
        for number, (days, at, amount, rand) in enumerate(listed)
    ]
    calls = [
        call(number, AT + days * DAY + at, at % 90 + 1, ours=-1 <= days < 1)
        if answered
        else unanswered(number, AT + days * DAY + at, ours=-1 <= days < 1)
        for number, (days, at, _, answered) in enumerate(dialled)
    ]
    totals, inputs = Totals(), Sums()
    for item in items(lines, calls):
        totals.add(item)
    compared = [each for each in calls if each.ours]
    inputs.lines, inputs.calls = len(lines), len(compared)
    inputs.seconds_there, inputs.seconds_here = sum(each.seconds for each in lines), sum(c.seconds for c in compared)
    for each in lines:
        inputs.money_there[each.currency] += each.amount
    for each in compared:
        inputs.money_here["ZAR"] += each.amount or 0
    assert totals.adds_up(inputs) == []


def test_what_does_not_add_up_is_said():
    """A line too few, a second and a cent: each in a sentence."""
    totals, inputs = Totals(), Sums()
    totals.add(Item("equal", 1, 1, None, None, None, 0, 60, 60, Decimal("0.60"), "ZAR", Decimal("0.61"), "ZAR"))
    totals.add(unread(1, 5, "amount: must be a number"))
    inputs.lines, inputs.calls = 3, 1
    inputs.seconds_there, inputs.seconds_here = 60, 61
    inputs.money_there["ZAR"] = inputs.money_here["ZAR"] = Decimal("0.60")
    assert totals.adds_up(inputs) == [
        "lines: the classes come to 2, and the inputs have 3",
        "seconds here: the classes come to 60, and the inputs have 61",
        "money there: the classes come to {'ZAR': '0.61'}, and the inputs have {'ZAR': '0.6'}",
    ]
