"""The price of one call, by the worked numbers of the rating rule and by properties."""

import threading
from datetime import UTC, datetime, time
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing.rules.rating import Rate, RatedCharge, Rounding, billable_seconds, rate_call
from pipeline.errors import DataError

R60 = Decimal("0.60")
SCHEMES = [(60, 60, "0"), (30, 6, "0"), (1, 1, "0"), (60, 1, "0.20")]
WORKED = {
    0: [(0, "0.00"), (0, "0.00"), (0, "0.00"), (0, "0.00")],
    1: [(60, "0.60"), (30, "0.30"), (1, "0.01"), (60, "0.80")],
    29: [(60, "0.60"), (30, "0.30"), (29, "0.29"), (60, "0.80")],
    30: [(60, "0.60"), (30, "0.30"), (30, "0.30"), (60, "0.80")],
    31: [(60, "0.60"), (36, "0.36"), (31, "0.31"), (60, "0.80")],
    59: [(60, "0.60"), (60, "0.60"), (59, "0.59"), (60, "0.80")],
    60: [(60, "0.60"), (60, "0.60"), (60, "0.60"), (60, "0.80")],
    61: [(120, "1.20"), (66, "0.66"), (61, "0.61"), (61, "0.81")],
    85: [(120, "1.20"), (90, "0.90"), (85, "0.85"), (85, "1.05")],
    91: [(120, "1.20"), (96, "0.96"), (91, "0.91"), (91, "1.11")],
}
CELLS = [(talk, *scheme, *cell) for talk, cells in WORKED.items() for scheme, cell in zip(SCHEMES, cells, strict=True)]
DISAGREEMENT = [(60, 45, 61, 105, "1.05"), (60, 45, 91, 105, "1.05"), (20, 6, 29, 32, "0.32")]
DISAGREEMENT += [(20, 6, 31, 32, "0.32")]


def charge(rate: Rate, talk: int, rounding: Rounding = Rounding.HALF_UP, decimals: int = 2) -> RatedCharge:
    return rate_call(rate, talk, rounding=rounding, decimals=decimals)


@pytest.mark.parametrize(("talk", "first", "next_", "fee", "seconds", "amount"), CELLS)
def test_worked_numbers(talk: int, first: int, next_: int, fee: str, seconds: int, amount: str) -> None:
    """Every cell of the worked table comes out, in seconds and in money."""
    rate = Rate("27", R60, connect_fee=Decimal(fee), first_increment=first, next_increment=next_)
    got = charge(rate, talk)
    assert (got.billable_seconds, str(got.amount)) == (seconds, amount)
    assert got.unrounded == Decimal(amount)


@pytest.mark.parametrize(("first", "next_", "talk", "seconds", "amount"), DISAGREEMENT)
def test_increments_count_from_the_end_of_the_first(
    first: int, next_: int, talk: int, seconds: int, amount: str
) -> None:
    """Where engines disagree, seconds and money follow one formula, and agree with each other."""
    got = charge(Rate("27", R60, first_increment=first, next_increment=next_), talk)
    assert (got.billable_seconds, str(got.amount)) == (seconds, amount)


@pytest.mark.parametrize(("talk", "amount"), [(32, "0.0036"), (57, "0.0060"), (75, "0.0078")])
def test_thirty_six_at_a_small_rate(talk: int, amount: str) -> None:
    """30/6 at 0.006 a minute keeps its four decimals."""
    rate = Rate("27", Decimal("0.006"), first_increment=30, next_increment=6)
    assert str(charge(rate, talk, decimals=4).amount) == amount


def test_connect_fee_by_the_second() -> None:
    """59 s at 0.16 a minute and 0.045 to connect cost 0.2023."""
    got = charge(Rate("27", Decimal("0.1600"), connect_fee=Decimal("0.0450")), 59, decimals=4)
    assert str(got.amount) == "0.2023"


def test_rounding_once_at_the_end() -> None:
    """The increments are not rounded one by one: 0.40 + 130 s at 0.10 a minute is 0.6167, not 0.6171."""
    got = charge(Rate("27", Decimal("0.10"), connect_fee=Decimal("0.40")), 130, Rounding.UP, 4)
    assert str(got.amount) == "0.6167"


@pytest.mark.parametrize(
    ("rounding", "amounts"),
    [
        ("half_up", ["0.13", "0.14", "0.12", "0.07"]),
        ("half_even", ["0.12", "0.14", "0.12", "0.07"]),
        ("up", ["0.13", "0.14", "0.13", "0.07"]),
        ("down", ["0.12", "0.13", "0.12", "0.07"]),
    ],
)
def test_rounding_modes(rounding: str, amounts: list[str]) -> None:
    """0.125, 0.135, 0.1201 and an exact 0.07 in each mode; what is exact already stays."""
    rates = [Decimal(text) for text in ("0.125", "0.135", "0.1201", "0.07")]
    assert [str(charge(Rate("", r), 60, Rounding(rounding)).amount) for r in rates] == amounts


@pytest.mark.parametrize(
    ("value", "rounding", "decimals", "amount"),
    [
        ("12.49", "up", 1, "12.5"),
        ("12.21", "up", 1, "12.3"),
        ("0.0701", "up", 2, "0.08"),
        ("12.49", "down", 1, "12.4"),
        ("0.07", "up", 2, "0.07"),
        ("12.5", "half_even", 0, "12"),
        ("12.5", "half_up", 0, "13"),
    ],
)
def test_rounding_values(value: Any, rounding: str, decimals: int, amount: str) -> None:
    """The values another engine tests its rounding with come out alike."""
    got = charge(Rate("", Decimal(value)), 60, Rounding(rounding), decimals)
    assert str(got.amount) == amount


def test_zero_seconds_cost_nothing() -> None:
    """Without talk there is no usage: neither connect fee nor minimum charge nor minimum seconds."""
    rate = Rate("", R60, connect_fee=Decimal(1), minimum_charge=Decimal(1), minimum_seconds=60)
    got = charge(rate, 0)
    assert (got.billable_seconds, str(got.amount), got.reason) == (0, "0.00", "zero_seconds")
    assert got.unrounded == 0


@pytest.mark.parametrize(("talk", "amount"), [(0, "0.05"), (3, "0.05"), (60, "0.65")])
def test_an_attempt_fee_is_due_for_every_attempt(talk: int, amount: str) -> None:
    """It is added to no usage, to free usage and to usage beyond the maximum charge."""
    rate = Rate("", R60 * 2, attempt_fee=Decimal("0.05"), free_below_seconds=5, maximum_charge=Decimal("0.60"))
    assert str(charge(rate, talk).amount) == amount


@pytest.mark.parametrize(
    ("talk", "seconds", "amount", "reason"),
    [
        (4, 0, "0.00", "below_free_seconds"),
        (5, 30, "0.30", "rated"),
        (29, 30, "0.30", "rated"),
        (31, 31, "0.31", "rated"),
    ],
)
def test_free_seconds_look_at_the_call_and_minimum_seconds_come_after(
    talk: int, seconds: int, amount: str, reason: str
) -> None:
    """A call below the free seconds is free though it would be raised beyond them; a longer one is raised."""
    got = charge(Rate("", R60, minimum_seconds=30, free_below_seconds=5), talk)
    assert (got.billable_seconds, str(got.amount), got.reason) == (seconds, amount, reason)


def test_minimum_seconds_are_counted_in_increments() -> None:
    """20 s raised to 40 s are two increments of 30 s."""
    got = charge(Rate("", R60, minimum_seconds=40, first_increment=30, next_increment=30), 20)
    assert (got.billable_seconds, str(got.amount)) == (60, "0.60")


@pytest.mark.parametrize(("talk", "amount"), [(1, "0.50"), (50, "0.50"), (51, "0.51"), (100, "0.90")])
def test_minimum_and_maximum_charge(talk: int, amount: str) -> None:
    """The usage, fee included, is held between the two limits."""
    rate = Rate("", R60, minimum_charge=Decimal("0.50"), maximum_charge=Decimal("0.90"))
    assert str(charge(rate, talk).amount) == amount


def test_limits_are_rounded_with_the_rest() -> None:
    """A maximum finer than the currency is rounded too, once, at the end."""
    assert str(charge(Rate("", R60, maximum_charge=Decimal("0.005")), 60, Rounding.UP).amount) == "0.01"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix", "+27"),
        ("prefix", "27x"),
        ("prefix", "٢٧"),
        ("prefix", "2" * 16),
        ("rate_per_minute", Decimal("-0.01")),
        ("rate_per_minute", Decimal("NaN")),
        ("connect_fee", Decimal("Infinity")),
        ("attempt_fee", Decimal(1_000_000_000)),
        ("connect_fee", Decimal("1e-13")),
        ("minimum_charge", Decimal(-1)),
        ("first_increment", 0),
        ("next_increment", 0),
        ("next_increment", 604_801),
        ("minimum_seconds", -1),
        ("free_below_seconds", -1),
        ("valid_from", datetime(2026, 1, 1)),  # noqa: DTZ001 - naive on purpose
        ("valid_to", datetime(2026, 1, 1)),  # noqa: DTZ001
        ("time_of_day", (time(1), time(2, tzinfo=UTC))),
        ("weekdays", frozenset()),
        ("weekdays", frozenset({0})),
    ],
)
def test_an_unsound_rate_cannot_be_made(field: str, value: Any) -> None:
    """A rate that could not be applied is refused when it is made, by the name of its field."""
    values = {"prefix": "27", "rate_per_minute": R60, field: value}
    with pytest.raises(DataError) as caught:
        Rate(**values)
    assert caught.value.field == field


def test_limits_that_contradict_each_other_are_refused() -> None:
    """A maximum below the minimum, and an end that is not after its beginning, are nobody's intention."""
    with pytest.raises(DataError, match="maximum_charge"):
        Rate("", R60, minimum_charge=Decimal(2), maximum_charge=Decimal(1))
    day = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(DataError, match="valid_to"):
        Rate("", R60, valid_from=day, valid_to=day)


def test_a_rate_can_be_read_by_msgspec() -> None:
    """The types of a rate are there at run time, so it can be stored as JSON and come back."""
    rate = Rate("27", R60, weekdays=frozenset({1}), valid_from=datetime(2026, 1, 1, tzinfo=UTC), id=7)
    assert msgspec.json.decode(msgspec.json.encode(rate), type=Rate) == rate


SECONDS = st.integers(1, 604_800)
INCREMENTS = st.integers(1, 3_600)
MONEY = st.decimals(0, 999_999_999, places=12) | st.decimals(0, 10, places=4)
DECIMALS = st.integers(0, 12)


@given(st.integers(-5, 604_800), INCREMENTS, INCREMENTS)
def test_billable_seconds_are_whole_increments(talk: int, first: int, next_: int) -> None:
    """Never below the talk time, never a whole increment above it, and the formula in fractions agrees."""
    got = billable_seconds(talk, first, next_)
    if talk <= 0:
        assert got == 0
        return
    assert got >= talk
    assert got == first + ceil(Fraction(max(0, talk - first), next_)) * next_
    assert got == first or got - talk < next_


@given(SECONDS, SECONDS, INCREMENTS, INCREMENTS)
def test_billable_seconds_are_monotone(one: int, other: int, first: int, next_: int) -> None:
    """A longer call is never billed for fewer seconds."""
    shorter, longer = sorted((one, other))
    assert billable_seconds(shorter, first, next_) <= billable_seconds(longer, first, next_)


@given(SECONDS, MONEY, MONEY, INCREMENTS, INCREMENTS, DECIMALS, st.sampled_from(Rounding))
def test_rounding_is_that_of_the_exact_fraction(
    talk: int, per_minute: Decimal, fee: Decimal, first: int, next_: int, decimals: int, rounding: Rounding
) -> None:
    """Though a sixtieth is periodic, the amount is what the exact fraction rounds to, in every mode."""
    rate = Rate("27", per_minute, connect_fee=fee, first_increment=first, next_increment=next_)
    got = charge(rate, talk, rounding, decimals)
    exact = Fraction(fee) + Fraction(per_minute) * billable_seconds(talk, first, next_) / 60
    scaled = exact * 10**decimals
    floor, rest = divmod(scaled, 1)
    up = {
        Rounding.UP: rest > 0,
        Rounding.DOWN: False,
        Rounding.HALF_UP: rest >= Fraction(1, 2),
        Rounding.HALF_EVEN: rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1),
    }[rounding]
    assert Fraction(got.amount) == Fraction(floor + up, 10**decimals)
    assert abs(Fraction(got.unrounded) - exact) < Fraction(1, 10**24)
    if rounding is Rounding.UP:
        assert Fraction(got.amount) >= exact


@given(SECONDS, SECONDS, MONEY, INCREMENTS, INCREMENTS)
def test_a_longer_call_never_costs_less(one: int, other: int, per_minute: Decimal, first: int, next_: int) -> None:
    """The charge is monotone in the talk time."""
    rate = Rate("27", per_minute, first_increment=first, next_increment=next_)
    shorter, longer = sorted((one, other))
    assert charge(rate, shorter).amount <= charge(rate, longer).amount


def test_the_callers_decimal_context_does_not_matter() -> None:
    """A thread that computes with three digits rounds no charge, and neither do many threads at once."""
    rate = Rate("27", Decimal("0.617"), connect_fee=Decimal("1234.56"))
    expected = charge(rate, 91)
    got: list[RatedCharge] = []

    def compute() -> None:
        with localcontext(prec=3, rounding=ROUND_DOWN):
            got.extend(charge(rate, 91) for _ in range(200))

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 800
