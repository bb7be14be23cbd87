"""The items of a number, and what all of them add up to: each line and each call in exactly one class."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from pipeline.accounts.rules import classes, matching
from pipeline.accounts.rules.classes import Classed, ItemClass, class_of_pair
from pipeline.accounts.rules.offset import thresholds as offset_thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.accounts.rules.classes import RateTerms
    from pipeline.accounts.rules.matching import Here, Pair, There
    from pipeline.accounts.rules.offset import Offset

VERSION: Final = 1
"""Of these rules: another one may come to other classes."""


class Period(NamedTuple):
    """The instants compared, in seconds since 1970, half-open; and what the files cover, by their own clock."""

    since: int
    until: int
    covered: tuple[tuple[int, int], ...]


class Item(NamedTuple):
    """A row of `reconcile_items` but for its run and place."""

    item_class: str
    call_id: int | None = None
    line_id: int | None = None
    file_id: int | None = None
    line: int | None = None
    """Of a line that could not be read, which has no id."""
    twin_line_id: int | None = None
    apart_seconds: int | None = None
    seconds_here: int | None = None
    seconds_there: int | None = None
    amount_here: Decimal | None = None
    currency_here: str | None = None
    amount_there: Decimal | None = None
    currency_there: str | None = None
    cause: str | None = None


class Sums:
    """Lines, calls, seconds and money of both sides."""

    def __init__(self) -> None:
        self.lines = self.calls = self.seconds_there = self.seconds_here = 0
        self.money_there: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.money_here: defaultdict[str, Decimal] = defaultdict(Decimal)

    def add(self, item: Item) -> None:
        """Count an item."""
        if item.line_id is not None or item.line is not None:
            self.lines += 1
            self.seconds_there += item.seconds_there or 0
            if item.amount_there is not None:
                self.money_there[item.currency_there or ""] += item.amount_there
        if item.call_id is not None:
            self.calls += 1
            self.seconds_here += item.seconds_here or 0
            if item.amount_here is not None:
                self.money_here[item.currency_here or ""] += item.amount_here

    def __iadd__(self, other: Self) -> Self:
        self.lines += other.lines
        self.calls += other.calls
        self.seconds_there += other.seconds_there
        self.seconds_here += other.seconds_here
        for mine, its in ((self.money_there, other.money_there), (self.money_here, other.money_here)):
            for currency, amount in its.items():
                mine[currency] += amount
        return self

    def as_dict(self) -> dict[str, Any]:
        """For JSON; amounts as texts, without a currency in which nothing is due."""
        return {
            "lines": self.lines,
            "calls": self.calls,
            "seconds_there": self.seconds_there,
            "seconds_here": self.seconds_here,
            "money_there": _texts(self.money_there),
            "money_here": _texts(self.money_here),
        }


def _texts(money: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: f"{amount.normalize():f}" for currency, amount in sorted(money.items()) if amount}


class Totals:
    """The sums and the causes of each class."""

    def __init__(self) -> None:
        self.by_class = {each.value: Sums() for each in ItemClass}
        self.causes: dict[str, Counter[str]] = {each.value: Counter() for each in ItemClass}

    def add(self, item: Item) -> None:
        """Count an item."""
        self.by_class[item.item_class].add(item)
        if item.cause is not None:
            self.causes[item.item_class][item.cause] += 1

    @property
    def sum(self) -> Sums:
        """Of all classes."""
        total = Sums()
        for each in self.by_class.values():
            total += each
        return total

    def adds_up(self, inputs: Sums) -> list[str]:
        """What does not add up to both inputs, as sentences; nothing where all does."""
        counted, given = self.sum.as_dict(), inputs.as_dict()
        return [
            f"{name.replace('_', ' ')}: the classes come to {counted[name]}, and the inputs have {given[name]}"
            for name in counted
            if counted[name] != given[name]
        ]


def items_of(
    lines: Sequence[There],
    calls: Sequence[Here],
    period: Period,
    offset: Offset,
    terms_of: Callable[[Here], RateTerms | None],
) -> Iterator[Item]:
    """The items of one number: each of its lines in one, and each call that is compared.

    Args:
        lines: the provider's, all with that number.
        calls: ours to it; those not compared (`Here.ours`) get no item.
        period: what is compared.
        offset: how far the file's clock is ahead of ours.
        terms_of: the rate that a call of ours was charged by.
    """
    matched = matching.match(lines, calls, offset) if lines else matching.Matched([], [], [], list(calls))
    for pair in matched.pairs:
        if pair.here.ours:
            yield _of_both(pair, class_of_pair(pair, terms_of))
        else:
            yield _of_line(pair.there, _of_other_call(pair.there, pair.here, period, offset))
    for line, twin in matched.twins:
        yield _of_line(line, Classed(ItemClass.DUPLICATE, classes.LISTED_AGAIN), twin=twin.line_id)
    for line in matched.lines:
        if _inside(line, period, offset):
            yield _of_line(line, Classed(ItemClass.MISSING_HERE, classes.NO_SUCH_CALL))
        else:
            yield _of_line(line, Classed(ItemClass.OUTSIDE, "the line's time is of another period"))
    for call in matched.calls:
        if call.ours:
            yield _of_call(call, _unlisted(call, period, offset))


def _inside(line: There, period: Period, offset: Offset) -> bool:
    return period.since <= line.at - offset.at(line.at)[0] < period.until


def _of_other_call(line: There, call: Here, period: Period, offset: Offset) -> Classed:
    if not period.since <= call.at < period.until or not _inside(line, period, offset):
        return Classed(ItemClass.OUTSIDE, classes.OF_ANOTHER_PERIOD)
    return Classed(ItemClass.MISSING_HERE, classes.NOT_OF_THIS_PROVIDER)


def _unlisted(call: Here, period: Period, offset: Offset) -> Classed:
    if call.amount is None and not call.answered:
        return Classed(ItemClass.EQUAL, classes.NOT_DUE)
    ahead = [part.seconds for part in offset.parts]
    if not any(since - max(ahead) <= call.at < until - min(ahead) for since, until in period.covered):
        return Classed(ItemClass.MISSING_THERE, classes.NOT_COVERED)
    if call.amount is None:
        return Classed(ItemClass.MISSING_THERE, f"{classes.NOT_PRICED}, and no line")
    return Classed(ItemClass.MISSING_THERE, classes.NOT_LISTED)


def _of_both(pair: Pair, what: Classed) -> Item:
    there, here = pair.there, pair.here
    return Item(
        what.item_class.value,
        here.call_id,
        there.line_id,
        None,
        None,
        None,
        pair.apart,
        here.seconds,
        there.seconds,
        here.amount,
        here.currency,
        there.amount,
        there.currency,
        what.cause,
    )


def _of_line(line: There, what: Classed, *, twin: int | None = None) -> Item:
    return Item(
        what.item_class.value,
        line_id=line.line_id,
        twin_line_id=twin,
        seconds_there=line.seconds,
        amount_there=line.amount,
        currency_there=line.currency,
        cause=what.cause,
    )


def _of_call(call: Here, what: Classed) -> Item:
    return Item(
        what.item_class.value,
        call_id=call.call_id,
        seconds_here=call.seconds,
        amount_here=call.amount,
        currency_here=call.currency,
        cause=what.cause,
    )


def unread(file_id: int, line: int, reason: str) -> Item:
    """The item of a line that could not be read."""
    return Item(ItemClass.UNREAD.value, file_id=file_id, line=line, cause=reason)


def rules() -> dict[str, Any]:
    """Every threshold, and the version of the rules, for the record of a run."""
    return {"version": VERSION, "offset": offset_thresholds(), "matching": matching.thresholds()}
