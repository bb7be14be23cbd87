"""What a call costs under a tariff, or why nothing: every reason, without a database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline.billing.rules.pricing import Line, Unbilled, Uncharged, decide, price
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.rating import DurationBasis, Rate, Rounding
from pipeline.billing.rules.terms import LoadedTariff
from pipeline.calls.rules.disposition import ATTEMPTED, BILLABLE_BY_DEFAULT, INBOUND_NOT_BILLED, Disposition
from pipeline.errors import NoRateError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SOUTH_AFRICA = Rate("27", Decimal("0.60"), first_increment=60, next_increment=60, id=7)


def call(**changes: Any) -> Unbilled:
    """An answered call of 61 seconds to South Africa, but for some fields."""
    usual = Unbilled(845, "spring", "+27820001234", True, "outbound", NOON, 61, "answered")
    return usual._replace(**changes)


def inbound(**changes: Any) -> Unbilled:
    """A call from South Africa to the dialler's own number in Germany."""
    return call(direction="inbound", dial_number="+4930123456", dial_number_is_e164=True, **changes)


def tariff(*rates: Rate, **changes: Any) -> LoadedTariff:
    """A tariff of these rates, or of one."""
    usual = LoadedTariff(
        version_id=3,
        name="standard",
        version=2,
        currency="ZAR",
        rounding=Rounding.HALF_UP,
        decimals=2,
        billable_dispositions=frozenset(map(str, BILLABLE_BY_DEFAULT)),
        duration_basis=DurationBasis.CALL,
        inbound_rated=False,
        deck=RateDeck(rates or (SOUTH_AFRICA,), "UTC"),
    )
    return usual._replace(**changes)


def with_fee(**changes: Any) -> Rate:
    """A rate that charges every attempt."""
    return Rate("27", Decimal("0.60"), attempt_fee=Decimal("0.05"), **changes)


def line(decided: Line | Uncharged) -> Line:
    assert isinstance(decided, Line)
    return decided


def test_a_charge_keeps_all_that_it_came_from() -> None:
    """The line names the version, the rate and its line in the file, both durations, and both amounts."""
    assert decide(call(revision=4), tariff()) == Line(
        call_id=845,
        kind="charge",
        revision=4,
        tariff_version_id=3,
        prefix="27",
        rate_per_minute=Decimal("0.60"),
        connect_fee=Decimal(0),
        talk_seconds=61,
        billable_seconds=120,
        unrounded=Decimal("1.20"),
        amount=Decimal("1.20"),
        currency="ZAR",
        reason="rated",
        rate_line=7,
        rated_seconds=61,
        rerate_id=None,
    )


def test_decimals_and_rounding_are_the_tariffs() -> None:
    """The same call in a currency without decimals, rounded down."""
    whole = tariff(Rate("27", Decimal("0.60")), currency="JPY", decimals=0, rounding=Rounding.DOWN)
    decided = line(decide(call(talk_seconds=199), whole))
    assert (decided.amount, decided.unrounded, decided.currency) == (Decimal(1), Decimal("1.99"), "JPY")


def test_hold_time_counts_only_where_the_tariff_says_so() -> None:
    """The line says which seconds were rated beside those that were talked."""
    held = call(talk_seconds=60, hold_seconds=30)
    assert line(decide(held, tariff())).rated_seconds == 60
    both = line(decide(held, tariff(duration_basis=DurationBasis.CALL_AND_HOLD)))
    assert (both.talk_seconds, both.rated_seconds, both.billable_seconds) == (60, 90, 120)


def test_the_rate_is_that_of_the_time_of_dialling() -> None:
    """Never that of now: a dearer rate has come into force since."""
    then = Rate("27", Decimal("0.60"), valid_to=NOON + timedelta(seconds=1), id=1)
    now = Rate("27", Decimal("9.00"), valid_from=NOON + timedelta(seconds=1), id=2)
    assert line(decide(call(), tariff(then, now))).rate_line == 1
    assert line(decide(call(dialed_at=NOON + timedelta(seconds=1)), tariff(then, now))).rate_line == 2


@pytest.mark.parametrize("disposition", sorted(set(Disposition) - BILLABLE_BY_DEFAULT))
def test_a_disposition_that_is_not_billed_says_so(disposition: Disposition) -> None:
    """With a tariff and without, rated or not: what it would have cost is never asked."""
    why = Uncharged(845, f"a call that ended as {disposition} is not billed")
    assert decide(call(disposition=str(disposition)), tariff()) == why
    assert decide(call(disposition=str(disposition)), None) == why
    assert decide(call(disposition=str(disposition), client_number="+4930123456"), tariff()) == why


@pytest.mark.parametrize("disposition", sorted(Disposition))
def test_a_tariff_says_itself_which_dispositions_it_bills(disposition: Disposition) -> None:
    """Any disposition may be billed, and then is charged like an answered call."""
    own = tariff(billable_dispositions=frozenset({str(disposition)}))
    assert line(decide(call(disposition=str(disposition)), own)).amount == Decimal("1.20")


@pytest.mark.parametrize("disposition", sorted(set(Disposition) - BILLABLE_BY_DEFAULT))
def test_an_attempt_fee_is_due_for_what_reached_the_network(disposition: Disposition) -> None:
    """Nothing but the fee, no seconds; a call that the dialler failed to place costs nothing."""
    decided = decide(call(disposition=str(disposition)), tariff(with_fee()))
    if disposition in ATTEMPTED:
        assert line(decided).reason == "attempt"
        assert (line(decided).amount, line(decided).billable_seconds) == (Decimal("0.05"), 0)
    else:
        assert decided == Uncharged(845, "a call that ended as failed is not billed")


def test_a_priced_attempt_still_says_that_its_call_is_not_billed() -> None:
    """A quote shows both: the fee, and why there is nothing else."""
    priced = price(call(disposition="busy"), tariff(with_fee()))
    assert priced.is_charged
    assert priced.why == "a call that ended as busy is not billed"


def test_the_fee_of_a_ported_number_is_due_where_no_other_rate_has_one() -> None:
    """No call is passed over as one that never costs anything while any rate charges for attempts."""
    ported = tariff(SOUTH_AFRICA, with_fee(network="65501"))
    assert line(decide(call(disposition="busy", network="65501"), ported)).amount == Decimal("0.05")
    assert decide(call(disposition="busy"), ported) == Uncharged(845, "a call that ended as busy is not billed")


@pytest.mark.parametrize("fees", [True, False])
@pytest.mark.parametrize("disposition", [*sorted(Disposition), "who knows"])
def test_a_call_that_is_not_charged_has_the_reason_that_its_price_has(*, disposition: str, fees: bool) -> None:
    """Also where it is clear without a look at the rates, and where there is none for its number."""
    own = tariff(with_fee()) if fees else tariff()
    for number in ("+27820001234", "+4930123456"):
        ended = call(disposition=str(disposition), client_number=number, talk_seconds=0)
        priced = price(ended, own)
        if not priced.is_charged:
            assert decide(ended, own) == Uncharged(845, priced.why)


def test_an_attempt_fee_comes_on_top_of_a_call() -> None:
    """Also where the seconds themselves are free."""
    assert line(decide(call(talk_seconds=60), tariff(with_fee()))).amount == Decimal("0.65")
    free = line(decide(call(talk_seconds=3), tariff(with_fee(free_below_seconds=5))))
    assert (free.amount, free.reason) == (Decimal("0.05"), "below_free_seconds")


def test_a_fee_that_rounds_to_nothing_is_no_charge() -> None:
    """A ledger line without seconds or amount would say nothing."""
    tiny = tariff(Rate("27", Decimal(1), attempt_fee=Decimal("0.001")))
    assert decide(call(disposition="busy"), tiny) == Uncharged(845, "a call that ended as busy is not billed")


def test_seconds_at_no_price_are_a_charge_of_nothing() -> None:
    """Seconds were charged, so the ledger has them, at an amount of zero."""
    decided = line(decide(call(), tariff(Rate("27", Decimal(0)))))
    assert (decided.amount, decided.billable_seconds, decided.reason) == (Decimal(0), 61, "rated")


def test_a_call_without_seconds_costs_nothing() -> None:
    """With a rate, without one, and without a tariff: zero seconds need no rate."""
    silent = call(talk_seconds=0)
    nothing = Uncharged(845, "zero_seconds")
    assert decide(silent, tariff()) == nothing
    assert decide(silent, tariff(Rate("49", Decimal(1)))) == nothing
    assert decide(silent, None) == nothing


def test_a_call_below_the_free_seconds_costs_nothing() -> None:
    """No connect fee and no minimum either."""
    free = Rate("27", Decimal(1), connect_fee=Decimal(2), minimum_charge=Decimal(3), free_below_seconds=62)
    assert decide(call(), tariff(free)) == Uncharged(845, "below_free_seconds")


def test_inbound_calls_are_not_billed_unless_the_tariff_rates_them() -> None:
    """No attempt fee either; without a tariff nothing says that they are rated."""
    nothing = Uncharged(845, INBOUND_NOT_BILLED)
    fee = tariff(Rate("49", Decimal("0.60"), attempt_fee=Decimal("0.05")))
    assert decide(inbound(), fee) == nothing
    assert decide(inbound(), None) == nothing
    busy = inbound(disposition="busy")
    assert decide(busy, fee) == Uncharged(845, "a call that ended as busy is not billed")
    assert line(decide(busy, fee._replace(inbound_rated=True))).amount == Decimal("0.05")


def test_an_inbound_call_is_rated_by_the_diallers_own_number() -> None:
    """The number that was called, not the one that called."""
    both = tariff(SOUTH_AFRICA, Rate("49", Decimal("0.10")), inbound_rated=True)
    assert line(decide(inbound(), both)).prefix == "49"
    assert price(inbound(), both).number == "+4930123456"


def test_without_a_rate_a_call_is_refused_and_the_error_names_all() -> None:
    """What was looked up: the number, the instant, the campaign, the tariff."""
    with pytest.raises(NoRateError) as caught:
        decide(call(client_number="+4930123456"), tariff())
    for part in ("+4930123456", "spring", "standard"):
        assert part in str(caught.value)


def test_without_a_tariff_a_call_with_seconds_is_refused() -> None:
    """It waits for one; that no tariff was assigned is a failure and no decision."""
    with pytest.raises(NoRateError):
        decide(call(), None)


@pytest.mark.parametrize(("number", "is_e164"), [("0820001234", False), ("", False), (None, False), ("+27 82", False)])
def test_a_number_that_is_not_e164_finds_only_the_default_rate(number: str | None, *, is_e164: bool) -> None:
    """Its digits name no country."""
    odd = call(client_number=number, client_number_is_e164=is_e164)
    assert line(decide(odd, tariff(SOUTH_AFRICA, Rate("", Decimal(1))))).prefix == ""
    assert price(odd, tariff(Rate("", Decimal(1)))).number == (number or "")
    with pytest.raises(NoRateError):
        decide(odd, tariff())
