"""The margin of a group: each side's amounts are there once, currencies never meet, and what is lacking is counted."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pipeline.billing.rules.margin import Charged, Margin, margins, totals

CURRENCIES = st.sampled_from([None, "EUR", "USD", "ZAR"])
AMOUNTS = st.integers(0, 10_000).map(lambda cents: Decimal(cents).scaleb(-2))


@st.composite
def cells(draw):
    client, provider = draw(CURRENCIES), draw(CURRENCIES)
    return Charged(
        draw(st.sampled_from(["", "autumn", "spring"])),
        client,
        provider,
        draw(st.integers(1, 9)),
        draw(AMOUNTS) if client else Decimal(0),
        draw(AMOUNTS) if provider else Decimal(0),
    )


def test_a_call_charged_alike_on_both_sides_leaves_their_difference():
    cell = Charged("spring", "ZAR", "ZAR", 3, Decimal("2.43"), Decimal("3.00"))
    assert margins([cell]) == [
        Margin("spring", 3, Decimal("2.43"), Decimal("3.00"), Decimal("-0.57"), "ZAR", 0, 0, 0),
    ]


def test_what_one_side_lacks_is_counted_beside_the_margin():
    """And is part of it: a voicemail costs, and a call without the provider's charge may cost."""
    found = margins(
        [
            Charged("spring", "ZAR", "ZAR", 5, Decimal(10), Decimal(4)),
            Charged("spring", "ZAR", None, 2, Decimal(3), Decimal(0)),
            Charged("spring", None, "ZAR", 1, Decimal(0), Decimal(1)),
            Charged("spring", None, None, 9, Decimal(0), Decimal(0)),
        ]
    )
    assert found == [Margin("spring", 8, Decimal(13), Decimal(5), Decimal(8), "ZAR", 2, 1, 0)]


def test_a_call_bought_in_another_currency_is_in_the_line_of_each():
    found = margins([Charged("", "ZAR", "USD", 2, Decimal(3), Decimal(1))])
    assert found == [
        Margin("", 2, Decimal(0), Decimal(1), Decimal(-1), "USD", 0, 0, 2),
        Margin("", 2, Decimal(3), Decimal(0), Decimal(3), "ZAR", 0, 0, 2),
    ]


@given(st.lists(cells()))
def test_it_adds_up_to_both_sides(given_cells):
    """Whatever the calls are: by currency to what each side has, in lines of one group and currency each."""
    lines = margins(given_cells)
    assert len({(line.group, line.currency) for line in lines}) == len(lines)
    client, provider = defaultdict(Decimal), defaultdict(Decimal)
    for cell in given_cells:
        if cell.client_currency:
            client[cell.client_currency] += cell.client
        if cell.provider_currency:
            provider[cell.provider_currency] += cell.provider
    sums = totals(lines)
    assert {line.currency for line in sums} == {*client, *provider}
    for line in sums:
        assert (line.client, line.provider) == (client[line.currency], provider[line.currency])
    for line in [*lines, *sums]:
        assert line.margin == line.client - line.provider
        assert line.no_provider + line.no_client + line.other_currency <= line.calls
    assert sum(line.no_provider for line in lines) == sum(
        cell.calls for cell in given_cells if cell.client_currency and not cell.provider_currency
    )
