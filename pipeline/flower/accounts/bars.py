"""The classes of a run as bars: how many lines and calls are in each, and what both sides come to."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from pipeline.accounts.reconcile_report import amount_in
from pipeline.accounts.rules.classes import ItemClass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.accounts.reconcile_rows import Run


class Part(NamedTuple):
    """A class in a bar."""

    item_class: str
    figure: Decimal

    @property
    def colour(self) -> str:
        """Its name in the style sheet."""
        return self.item_class.replace(" ", "-")


class Bar(NamedTuple):
    """A figure of a run by class."""

    title: str
    parts: list[Part]
    unit: str
    width: float
    """Per cent of the longest bar that it is compared with."""

    @property
    def whole(self) -> Decimal:
        """What its parts come to."""
        return sum((part.figure for part in self.parts), Decimal(0))

    @property
    def said(self) -> str:
        """The same in words."""
        parts = ", ".join(f"{part.item_class} {part.figure:,f}" for part in self.parts)
        return f"{self.title}, {f'{self.whole:,f} {self.unit}'.strip()}: {parts or 'nothing'}"


def bars_of(run: Run) -> list[Bar]:
    """Counts, and what is asked for and expected in each currency: these two on one scale.

    A credit is in no bar, for it has no length; it is in the table.
    """
    counts = {each: Decimal(of["lines"] + of["calls"]) for each in ItemClass if (of := run.totals[each])}
    found = [Bar("lines and calls", _parts(counts), "", 100.0)]
    currencies = sorted({*run.inputs["money_there"], *run.inputs["money_here"]})
    for currency in currencies:
        there, here = (_parts(_money(run, side, currency)) for side in ("money_there", "money_here"))
        found += _on_one_scale(
            Bar("asked for there", there, currency, 100.0), Bar("expected here", here, currency, 100.0)
        )
    return found


def _on_one_scale(*bars: Bar) -> list[Bar]:
    longest = max(bar.whole for bar in bars) or Decimal(1)
    return [bar._replace(width=float(100 * bar.whole / longest)) for bar in bars]


def _money(run: Run, side: str, currency: str) -> dict[ItemClass, Decimal]:
    return {each: amount_in(currency, run.totals[each][side].get(currency, "0")) for each in ItemClass}


def _parts(figures: Mapping[ItemClass, Decimal]) -> list[Part]:
    return [Part(each.value, figure) for each, figure in figures.items() if figure > 0]
