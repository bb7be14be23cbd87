"""What is left of what clients are charged when the provider has been paid, by currency: pure sums, no conversion."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Charged(NamedTuple):
    """Calls of a group that are charged alike: in the same currency, or not at all, on each side."""

    group: str
    client_currency: str | None
    """None: the client is charged nothing."""
    provider_currency: str | None
    """None: no charge of the provider's is known."""
    calls: int
    client: Decimal
    """Zero without a currency."""
    provider: Decimal


class Margin(NamedTuple):
    """What one group comes to in one currency, over the calls that either side is charged for in it."""

    group: str
    calls: int
    """With a charge in force in this currency, of either side."""
    client: Decimal
    provider: Decimal
    margin: Decimal
    """Client minus provider, in this currency alone."""
    currency: str
    no_provider: int
    """Of the calls: charged to the client, and no charge of the provider's is known, so that the margin may be less."""
    no_client: int
    """Of the calls: charged by the provider, and the client is charged nothing."""
    other_currency: int
    """Of the calls: the other side is charged in another currency, and stands in that line of the group."""


def margins(cells: Iterable[Charged]) -> list[Margin]:
    """The lines of a report, by group and currency.

    A call that is charged in one currency and bought in another is in the line of each, with that side's amount.

    >>> cell = Charged("spring", "ZAR", "USD", 2, Decimal("3.00"), Decimal("0.10"))
    >>> [(each.currency, str(each.margin), each.other_currency) for each in margins([cell])]
    [('USD', '-0.10', 2), ('ZAR', '3.00', 2)]

    Args:
        cells: what is charged alike, in any order.
    """
    found: dict[tuple[str, str], Margin] = {}
    for cell in cells:
        for currency in {cell.client_currency, cell.provider_currency} - {None}:
            assert currency is not None
            key = (cell.group, currency)
            found[key] = _plus(found.get(key, _nothing(*key)), _share(cell, currency))
    return [found[key] for key in sorted(found)]


def totals(entries: Iterable[Margin]) -> list[Margin]:
    """What the lines come to, by currency."""
    sums: dict[str, Margin] = {}
    for each in entries:
        sums[each.currency] = _plus(sums.get(each.currency, _nothing("", each.currency)), each)
    return [sums[currency] for currency in sorted(sums)]


def _share(cell: Charged, currency: str) -> Margin:
    """What a cell has in one of its currencies."""
    sides = (cell.client_currency, cell.provider_currency)
    client = cell.client if cell.client_currency == currency else Decimal(0)
    provider = cell.provider if cell.provider_currency == currency else Decimal(0)
    return Margin(
        cell.group,
        cell.calls,
        client,
        provider,
        client - provider,
        currency,
        no_provider=cell.calls if cell.provider_currency is None else 0,
        no_client=cell.calls if cell.client_currency is None else 0,
        other_currency=cell.calls if None not in sides and sides[0] != sides[1] else 0,
    )


def _nothing(group: str, currency: str) -> Margin:
    return Margin(group, 0, Decimal(0), Decimal(0), Decimal(0), currency, 0, 0, 0)


def _plus(one: Margin, other: Margin) -> Margin:
    return Margin(
        one.group,
        one.calls + other.calls,
        one.client + other.client,
        one.provider + other.provider,
        one.margin + other.margin,
        one.currency,
        one.no_provider + other.no_provider,
        one.no_client + other.no_client,
        one.other_currency + other.other_currency,
    )
