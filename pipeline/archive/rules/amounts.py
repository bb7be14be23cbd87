"""Amounts to the last digit, with the decimals they were written with."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact
from typing import Final

EXACT: Final = Context(prec=80, traps=[Inexact])
"""No digit may be lost: what would lose one is an error."""


def decimals_of(amount: Decimal) -> int:
    """How many decimals an amount is written with.

    >>> decimals_of(Decimal("1.10")), decimals_of(Decimal("7")), decimals_of(Decimal("1E+3"))
    (2, 0, 0)
    """
    return -min(0, int(amount.as_tuple().exponent))


def as_written(amount: Decimal, decimals: int) -> Decimal:
    """An amount with as many decimals as it was written with.

    >>> as_written(Decimal("1.100000000000"), 2)
    Decimal('1.10')

    Raises:
        decimal.Inexact: it has more of them.
    """
    return amount.quantize(Decimal(1).scaleb(-decimals), context=EXACT)


def without_zeros(amount: Decimal) -> Decimal:
    """The same amount without the zeros that a column's own decimals add.

    >>> without_zeros(Decimal("1.190000000000")), without_zeros(Decimal("100.000000000000"))
    (Decimal('1.19'), Decimal('100'))
    """
    whole = amount.to_integral_value()
    return whole if amount == whole else amount.normalize(EXACT)
