"""Rates of a tariff file that are of the same prefix, and would hold at the same time."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pipeline.billing.rules.rate_deck import overlaps
from pipeline.errors import shown

if TYPE_CHECKING:
    from pipeline.billing.rules.rating import Rate

RATES_OF_ONE_PREFIX: Final = 1_000
"""The most rates of one prefix: more are a column gone wrong, and to compare them all would take for ever."""

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)

# Rates for the same hours of the week surely meet when both are valid for so long.
_EVERY_HOUR_OF_THE_WEEK: Final = timedelta(days=15)
_NO_TIME: Final = timedelta(0)
_FEW: Final = 50


def clashes_of(rates: list[Rate], timezone: str) -> list[tuple[int, str]]:
    """Rates between which a call could not choose: of each two that are, the later line and what is wrong with it.

    Args:
        rates: the rates of a file; the `id` of each is its line.
        timezone: the IANA zone of their hours and weekdays.
    """
    grouped: defaultdict[tuple[str, str], list[Rate]] = defaultdict(list)
    for rate in rates:
        grouped[rate.network, rate.prefix].append(rate)
    bad: list[tuple[int, str]] = []
    clashes: list[tuple[Rate, Rate]] = []
    suspects: list[Rate] = []
    for (_, prefix), same in grouped.items():
        if len(same) == 1:
            continue
        left, plain = _sweep(same)
        if plain and len(same) <= _FEW:  # then every pair is looked at, and named
            suspects += same
            continue
        clashes += plain
        if len(left) > RATES_OF_ONE_PREFIX:
            line = sorted(rate.id or 0 for rate in left)[RATES_OF_ONE_PREFIX]
            bad.append((line, f"{shown(prefix)} has more than {RATES_OF_ONE_PREFIX} rates"))
        else:
            suspects += left
    clashes += overlaps(suspects, timezone)
    first: dict[int, int] = {}
    for one, other in clashes:
        earlier, later = sorted((one.id or 0, other.id or 0))
        first[later] = min(earlier, first.get(later, earlier))
    return bad + [
        (line, f"is the same as on line {earlier}, and at some time both would hold") for line, earlier in first.items()
    ]


def _sweep(same: list[Rate]) -> tuple[list[Rate], list[tuple[Rate, Rate]]]:
    """The rates of one prefix that need a closer look, and the plain overlaps, found in one pass.

    An empty column or a history without ends makes every line overlap with every other: to compare each with
    each would take for ever.
    """
    alike: defaultdict[object, list[Rate]] = defaultdict(list)
    for rate in same:
        alike[rate.time_of_day, rate.weekdays].append(rate)
    left: list[Rate] = []
    plain: list[tuple[Rate, Rate]] = []
    for group in alike.values():
        group.sort(key=lambda rate: rate.valid_from or _BEGINNING)
        always = group[0].time_of_day is None and group[0].weekdays is None
        enough = _NO_TIME if always else _EVERY_HOUR_OF_THE_WEEK
        last, last_end = group[0], group[0].valid_to or _END
        left.append(last)
        for rate in group[1:]:
            start, end = rate.valid_from or _BEGINNING, rate.valid_to or _END
            if min(end, last_end) - start > enough:
                plain.append((last, rate))
            else:
                left.append(rate)
            if end > last_end:
                last, last_end = rate, end
    return (left if len(alike) > 1 or not always else []), plain
