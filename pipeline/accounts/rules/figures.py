"""Figures as providers write them: amounts of money, rates, and whatever else has decimals.

Nothing is guessed: which mark stands before the decimals and which between the thousands is said once, by the mapping,
and a cell that is written otherwise is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable

FORMS: Final = {
    "1234.56": (r"\.", ""),
    "1234,56": (",", ""),
    "1,234.56": (r"\.", ","),
    "1.234,56": (",", r"\."),
    "1 234,56": (",", "[ \u00a0\u2009\u202f]"),
    "1 234.56": (r"\.", "[ \u00a0\u2009\u202f]"),
    "1'234.56": (r"\.", "['\u2019]"),
}
"""The marks of each form, before the decimals and between the thousands, as expressions; its name is an example."""

MOST_DIGITS: Final = 12
"""Before the decimals."""
MOST_DECIMALS: Final = 20
"""A spreadsheet writes parts of a day with 18."""
_LONGEST: Final = 64

_UNIT: Final = r"[A-Z]{3}|R|[$\u00a3-\u00a5\u20a0-\u20c0]"
_MINUS: Final = "\u2212-"
_AROUND: Final = re.compile(
    rf"(?P<a>[+{_MINUS}]?)\s*(?P<u>{_UNIT})?\s*(?P<open>\(?)\s*(?P<b>[+{_MINUS}]?)\s*(?P<v>{_UNIT})?\s*"
    rf"(?P<digits>[0-9.,](?:[0-9.,'\u2019\s]*[0-9])?)"
    rf"\s*(?P<w>{_UNIT})?\s*(?P<c>[{_MINUS}]?)\s*(?P<close>\)?)\s*(?P<x>{_UNIT})?\s*(?P<d>[{_MINUS}]?)"
)
# The signs that stand for one currency; the others, $ among them, are used by several and tell nothing.
_SIGNS: Final = {"\u20ac": "EUR", "\u20b9": "INR", "R": "ZAR"}


class Figure(NamedTuple):
    """A figure, and the currency that stood beside it, as far as that is certain."""

    value: Decimal
    currency: str | None


def figure_reader(form: str) -> Callable[[str], Figure]:
    """What reads figures of a form.

    >>> read = figure_reader("1.234,56")
    >>> read("1.234,56").value, read("(12,00)").value, read("12,5-").value
    (Decimal('1234.56'), Decimal('-12.00'), Decimal('-12.5'))
    >>> read("EUR 0,07")
    Figure(value=Decimal('0.07'), currency='EUR')

    Args:
        form: one of `FORMS`.

    Returns:
        A function of a cell's text. Brackets and a minus before or behind make a credit; a currency's sign or its code
        of ISO 4217 may stand on either side. It raises ValueError, with a sentence that begins with "must" or "is".
    """
    mark, thousands = FORMS[form]
    whole = f"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    digits = re.compile(f"(?P<whole>{whole})?(?:{mark}(?P<decimals>[0-9]+))?", re.ASCII).fullmatch

    @lru_cache(maxsize=65_536)
    def read(cell: str) -> Figure:
        found = _AROUND.fullmatch(cell.strip()) if len(cell) <= _LONGEST else None
        core = found and digits(found["digits"])
        if not found or not core:
            raise ValueError(f"must be a figure such as {form}, got {shown(cell)}" if cell.strip() else "is missing")
        signs = [found[name] for name in "abcd" if found[name]]
        units = [found[name] for name in "uvwx" if found[name]]
        in_brackets = bool(found["open"])
        if in_brackets != bool(found["close"]) or len(signs) + in_brackets > 1 or len(units) > 1:
            raise ValueError(f"must have one sign and one currency at most, got {shown(cell)}")
        before, decimals = re.sub("[^0-9]", "", core["whole"] or "0"), core["decimals"] or ""
        if len(before.lstrip("0")) > MOST_DIGITS or len(decimals) > MOST_DECIMALS:
            raise ValueError(f"must have at most {MOST_DIGITS} digits and {MOST_DECIMALS} decimals, got {shown(cell)}")
        value = Decimal(f"{before}.{decimals}" if decimals else before)
        is_credit = in_brackets or (bool(signs) and signs[0] != "+")
        return Figure(-value if is_credit and value else value, _currency(units[0], cell) if units else None)

    return read


def _currency(unit: str, cell: str) -> str | None:
    if len(unit) == len("EUR") and unit not in MINOR_UNITS:
        raise ValueError(f"must be in a currency of ISO 4217, got {shown(cell)}")
    return unit if unit in MINOR_UNITS else _SIGNS.get(unit)
