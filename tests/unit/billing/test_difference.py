"""What a rerating would change, call by call and by campaign and currency; without a database."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing.rules.difference import REASONS_KEPT, Comparison, Decided, Difference, Outcome
from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CENTS = st.decimals(0, 1_000, places=2)


def before(amount: str | Decimal | None, currency: str | None = "ZAR", campaign: str = "spring") -> Outcome:
    """A call that was charged so, or not at all."""
    unbilled = Unbilled(845, campaign, "+27820001234", True, "outbound", NOON, 60, "answered", revision=2)
    return Outcome(unbilled, None if amount is None else Decimal(amount), None if amount is None else currency)


def charged(amount: str | Decimal, currency: str = "ZAR", prefix: str = "27") -> Line:
    """What the call comes to now."""
    money = Decimal(amount)
    return Line(845, "charge", 2, 3, prefix, money, Decimal(0), 60, 60, money, money, currency, "rated")


FREE = Uncharged(845, "zero_seconds")


@pytest.mark.parametrize(
    ("decided", "changes"),
    [
        (Decided(before("1.20"), charged("1.20")), False),
        (Decided(before("1.20"), charged("1.2000")), False),
        (Decided(before("1.20"), charged("1.20", prefix="2782")), False),
        (Decided(before("1.20"), charged("1.21")), True),
        (Decided(before("1.20"), charged("1.20", "USD")), True),
        (Decided(before("1.20"), FREE), True),
        (Decided(before("0.00"), FREE), True),
        (Decided(before(None), charged("1.20")), True),
        (Decided(before(None), charged("0.00")), True),
        (Decided(before(None), FREE), False),
        (Decided(before("1.20"), None, "no rate"), False),
        (Decided(before(None), None, "no rate"), False),
    ],
)
def test_what_is_a_change(decided: Decided, *, changes: bool) -> None:
    """Amount, currency, or charged at all; another rate for the same money, or another reason, is none."""
    assert decided.changes is changes
    comparison = Comparison()
    comparison.add(decided)
    assert comparison.changed == changes


def compared(*calls: Decided) -> Comparison:
    comparison = Comparison()
    for decided in calls:
        comparison.add(decided)
    return comparison


def test_each_campaign_and_currency_has_its_own_sums() -> None:
    """Money of two currencies is never added up."""
    found = compared(
        Decided(before("1.00"), charged("1.50")),
        Decided(before("2.00"), charged("2.00")),
        Decided(before("3.00", "USD"), charged("2.00", "USD")),
        Decided(before("4.00", campaign="autumn"), FREE),
    )
    assert dict(found.differences) == {
        ("spring", "ZAR"): Difference(2, 1, 0, Decimal("3.00"), Decimal("3.50")),
        ("spring", "USD"): Difference(1, 1, 0, Decimal("3.00"), Decimal("2.00")),
        ("autumn", "ZAR"): Difference(1, 1, 0, Decimal("4.00"), Decimal(0)),
    }
    assert [each.difference for each in found.differences.values()] == [Decimal("0.50"), Decimal(-1), Decimal(-4)]
    assert (found.changed, found.unratable) == (3, 0)


def test_a_call_whose_currency_changes_is_counted_where_it_was() -> None:
    """Its money leaves one currency and appears in the other, where it is no call of its own."""
    found = compared(Decided(before("1.20"), charged("0.07", "USD")))
    assert dict(found.differences) == {
        ("spring", "ZAR"): Difference(1, 1, 0, Decimal("1.20"), Decimal(0)),
        ("spring", "USD"): Difference(0, 0, 0, Decimal(0), Decimal("0.07")),
    }


def test_what_was_not_charged_counts_in_the_currency_it_comes_to() -> None:
    """And what is charged neither before nor now, in none."""
    found = compared(Decided(before(None), charged("1.20", "USD")), Decided(before(None), FREE))
    assert dict(found.differences) == {
        ("spring", "USD"): Difference(1, 1, 0, Decimal(0), Decimal("1.20")),
        ("spring", ""): Difference(1, 0, 0, Decimal(0), Decimal(0)),
    }


def test_what_cannot_be_rated_keeps_what_it_has() -> None:
    """It changes no sum, and its reason is kept."""
    found = compared(Decided(before("1.20"), None, "no rate for +4930"), Decided(before(None), None, "no tariff"))
    assert dict(found.differences) == {
        ("spring", "ZAR"): Difference(1, 0, 1, Decimal("1.20"), Decimal("1.20")),
        ("spring", ""): Difference(1, 0, 1, Decimal(0), Decimal(0)),
    }
    assert (found.changed, found.unratable) == (0, 2)
    assert found.reasons == ["no rate for +4930", "no tariff"]


def test_only_the_first_reasons_are_kept() -> None:
    """A million calls without a rate say it ten times, and are all counted."""
    found = compared(*(Decided(before("1.00"), None, f"reason {i}") for i in range(REASONS_KEPT + 5)))
    assert found.reasons == [f"reason {i}" for i in range(REASONS_KEPT)]
    assert found.unratable == REASONS_KEPT + 5


@given(
    st.lists(
        st.tuples(
            st.none() | CENTS,
            st.sampled_from(["ZAR", "USD"]),
            st.none() | st.just(FREE) | st.builds(charged, CENTS, st.sampled_from(["ZAR", "USD"])),
        )
    )
)
def test_no_call_and_no_money_is_lost(calls: list[tuple[Decimal | None, str, Line | Uncharged | None]]) -> None:
    """Whatever the calls were and become: the sums over all groups are those over all calls."""
    decided = [Decided(before(amount, currency), after) for amount, currency, after in calls]
    found = compared(*decided)
    assert sum(each.calls for each in found.differences.values()) == len(decided)
    assert found.changed == sum(each.changes for each in decided)
    for currency in ("ZAR", "USD"):
        group = found.differences["spring", currency]
        was = sum(each.before.amount or 0 for each in decided if each.before.currency == currency)
        gone = sum(
            each.before.amount or 0 for each in decided if each.before.currency == currency and each.after is not None
        )
        come = sum(
            each.after.amount for each in decided if isinstance(each.after, Line) and each.after.currency == currency
        )
        assert (group.before, group.after) == (was, was - gone + come)
