"""The class of each line and call, and the cause in words: what a pair differs in, and what one side has alone."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.billing.rules.rating import rate_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.accounts.rules.matching import Here, Pair, There
    from pipeline.billing.rules.rating import Rate, RatedCharge, Rounding


class ItemClass(StrEnum):
    """What a line, a call or a pair of them is; every line and every call is in exactly one."""

    EQUAL = "equal"
    ROUNDING = "rounding"
    SECONDS = "seconds"
    RATE = "rate"
    CURRENCY = "currency"
    MISSING_HERE = "missing here"
    MISSING_THERE = "missing there"
    ANSWERED_THERE = "answered there only"
    DUPLICATE = "duplicate there"
    OUTSIDE = "outside the period"
    WEAK = "weak"
    UNREAD = "unread"


DISPUTES: Final = tuple(each for each in ItemClass if each not in {ItemClass.EQUAL, ItemClass.ROUNDING})
"""What an accountant asks the provider about."""

NOT_DUE: Final = "not answered here and not listed there: nothing is due"
LISTED_AGAIN: Final = "listed again: another line is the same call"
NOT_OF_THIS_PROVIDER: Final = "the call is here, but it is none of this provider's"
NO_SUCH_CALL: Final = "no call to that number at that time"
NOT_LISTED: Final = "charged here, and no line"
NOT_COVERED: Final = "no file covers that time"
OF_ANOTHER_PERIOD: Final = "the call is of another period"
NOT_PRICED: Final = "answered, and not priced here"


class RateTerms(NamedTuple):
    """A rate of the provider's tariff, and how the tariff rounds."""

    rate: Rate
    rounding: Rounding
    decimals: int

    def charge(self, seconds: int) -> RatedCharge:
        """What a call of so many seconds costs."""
        return rate_call(self.rate, seconds, rounding=self.rounding, decimals=self.decimals)


class Classed(NamedTuple):
    """A class, and the cause in words; none where all is as it should be."""

    item_class: ItemClass
    cause: str | None = None


_EQUAL: Final = Classed(ItemClass.EQUAL)


def class_of_pair(pair: Pair, terms_of: Callable[[Here], RateTerms | None]) -> Classed:
    """What a matched line and call come to.

    Amounts of two currencies are never compared.

    Args:
        pair: both.
        terms_of: the rate that our side was charged by; None where it is not known.
    """
    there, here, apart, weak = pair
    if weak:
        what = _compared(there, here, terms_of)
        also = f"; {what.cause}" if what.cause else "; else equal"
        return Classed(ItemClass.WEAK, f"by the number alone, {_span(abs(apart))} {_later(apart)}{also}")
    if here.seconds == there.seconds and here.amount == there.amount and here.currency == there.currency:
        return _EQUAL
    return _compared(there, here, terms_of)


def _compared(there: There, here: Here, terms_of: Callable[[Here], RateTerms | None]) -> Classed:
    if here.amount is None:
        return _not_charged(there, here)
    if there.currency != here.currency:
        said = f"{there.currency} there, {here.currency} here: amounts are not compared"
        return Classed(ItemClass.CURRENCY, said)
    terms = terms_of(here)
    units = _units(there, terms)
    if there.amount == here.amount:
        return _same_amount(there, here, units)
    if units == here.billable_seconds:
        if _is_rounding(there, here):
            return Classed(ItemClass.ROUNDING, "the amounts differ by their decimals alone")
        return Classed(ItemClass.RATE, f"units agree, {_factor(there.amount, here.amount, units)}")
    if terms is not None:
        charge = terms.charge(there.seconds)
        if there.amount in {charge.amount, charge.unrounded} or abs(charge.unrounded - there.amount) < _step(there):
            return Classed(ItemClass.SECONDS, f"{_more_seconds(there, here)}, priced at our rate")
    if there.seconds == here.seconds:
        said = f"{units} s charged there, {here.billable_seconds} s here, of the same duration"
        return Classed(ItemClass.RATE, f"{said}; {_factor(there.amount, here.amount, units)}")
    return Classed(ItemClass.RATE, f"{_more_seconds(there, here)}; {_factor(there.amount, here.amount, units)}")


def _not_charged(there: There, here: Here) -> Classed:
    if there.amount == 0 and there.seconds == 0:
        return _EQUAL
    if here.answered:
        item_class = ItemClass.RATE if here.seconds else ItemClass.SECONDS  # for want of the one or of the other
        return Classed(item_class, f"{NOT_PRICED}: {here.why or 'nothing is charged yet'}")
    return Classed(ItemClass.ANSWERED_THERE, f"not answered here: {here.why or 'nothing is charged'}")


def _same_amount(there: There, here: Here, units: int) -> Classed:
    if there.seconds == here.seconds:
        return _EQUAL
    if units == here.billable_seconds:
        return Classed(ItemClass.ROUNDING, f"{_more_seconds(there, here)}, and none after the tariff's increments")
    return Classed(ItemClass.SECONDS, f"{_more_seconds(there, here)}, and the amount is the same")


def _is_rounding(there: There, here: Here) -> bool:
    """Whether the same amount was rounded in two ways, each to the decimals that it is given with."""
    if here.unrounded is None:
        return False
    return abs(here.unrounded - there.amount) < _step(there)


def _step(there: There) -> Decimal:
    """The last digit of the provider's amount, as it was written; a cent where it has none."""
    exponent = int(there.amount.as_tuple().exponent)
    return Decimal(1).scaleb(exponent if exponent < 0 else -2)


def _units(there: There, terms: RateTerms | None) -> int:
    """The seconds that the provider charged: as its file says, else by our increments."""
    if there.billed_seconds is not None:
        return there.billed_seconds
    return there.seconds if terms is None else terms.charge(there.seconds).billable_seconds


def _factor(theirs: Decimal, ours: Decimal, units: int) -> str:
    implied = f", {theirs * 60 / units:.4f} a minute there" if units else ""
    if not ours:
        return f"cost {theirs:f} where nothing is due{implied}"
    return f"cost {theirs / ours:.2f} times{implied}"


def _more_seconds(there: There, here: Here) -> str:
    more = there.seconds - here.seconds
    return f"{abs(more)} s {'more' if more > 0 else 'less'} there" if more else "the same seconds"


def _later(apart: int) -> str:
    return "later there" if apart >= 0 else "earlier there"


def _span(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
