"""A rate deck: which rate holds for a number at an instant."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from pipeline.billing.rules.rating import WEEK, Rate
from pipeline.errors import DataError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_MIDNIGHT: Final = time(0)

# In so long a span every weekday has two whole days, of which clock changes can spoil one: whatever shares an
# hour of the week then shares an instant.
_EVERY_HOUR_OF_THE_WEEK: Final = timedelta(days=15)
_CLOCKS_CHANGE_ON: Final = timedelta(minutes=15)


class RateDeck:
    """The rates of one tariff by prefix; `find` costs one look-up for each length of prefix in use."""

    __slots__ = ("_by_prefix", "_lengths", "_networks", "_zone", "has_attempt_fees")

    def __init__(self, rates: Iterable[Rate], timezone: str, *, network: str = "") -> None:
        """Sort the rates.

        Args:
            rates: all of them.
            timezone: the IANA zone of their hours and weekdays.
            network: whose rates these are; empty: those by prefix, and of each network a deck of its own.
        """
        self._zone = _zone(timezone)
        networks: defaultdict[str, list[Rate]] = defaultdict(list)
        self.has_attempt_fees = False
        """Whether any rate, of whichever network, charges for an attempt."""

        def of_prefixes() -> Iterator[Rate]:
            for rate in rates:
                self.has_attempt_fees = self.has_attempt_fees or bool(rate.attempt_fee)
                if rate.network == network:
                    yield rate
                else:
                    networks[rate.network].append(rate)

        grouped = _grouped(of_prefixes())
        self._networks = {name: RateDeck(same, timezone, network=name) for name, same in networks.items()}
        # Nearly every prefix has one rate, and 200,000 tuples around them would be 10 MB of nothing.
        self._by_prefix: dict[str, Rate | tuple[Rate, ...]] = {
            prefix: same[0] if len(same) == 1 else tuple(same) for prefix, same in grouped.items()
        }
        self._lengths = tuple(sorted({len(prefix) for prefix in grouped}, reverse=True))

    def __len__(self) -> int:
        """How many prefixes have a rate, counted for each network anew."""
        return len(self._by_prefix) + sum(map(len, self._networks.values()))

    @property
    def has_networks(self) -> bool:
        """Whether any of its rates is for numbers that were ported."""
        return bool(self._networks)

    def find(self, digits: str, at: datetime, network: str = "") -> Rate | None:
        """The rate of the longest prefix that has one valid at the instant.

        A rate for the network that the number was ported to goes before all that go by prefix alone.

        Digits are those of an E.164 number; anything else, and nothing, finds only the default rate. Where
        rates of one prefix overlap, which a loader refuses, the one that came into force last is taken.
        """
        if at.utcoffset() is None:
            raise ValueError(f"the instant of a call needs a time zone, got {at}")
        # Two instants of one zone are compared by the clock on the wall, which may go back; UTC does not.
        at = at.astimezone(UTC)
        digits = digits.removeprefix("+")
        if network and (ported := self._networks.get(network)) and (rate := ported.find(digits, at)):
            return rate
        known = len(digits) if digits.isascii() and digits.isdecimal() else 0
        for length in self._lengths:
            if length > known:
                continue
            found = self._by_prefix.get(digits[:length])
            if found is None:
                continue
            for rate in found if isinstance(found, tuple) else (found,):
                if _applies(rate, at, self._zone):
                    return rate
        return None


def overlaps(rates: Iterable[Rate], timezone: str = "UTC") -> list[tuple[Rate, Rate]]:
    """The pairs of rates of one prefix which hold at one and the same instant; a sound tariff has none.

    A rate for a network has others of that network beside it, and no others.
    """
    zone = _zone(timezone)
    found = []
    networks: defaultdict[str, list[Rate]] = defaultdict(list)
    for rate in rates:
        networks[rate.network].append(rate)
    for same in (same for each in networks.values() for same in _grouped(each).values()):
        same.reverse()  # earliest first, so that a rate is compared only with those that begin before it ends
        for i, earlier in enumerate(same):
            end = _end(earlier)
            for later in same[i + 1 :]:
                if _start(later) >= end:
                    break
                if _share_an_instant(earlier, later, zone):
                    found.append((earlier, later))
    return found


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a folder of names
        raise DataError("timezone", f"must be an IANA time zone, got {shown(timezone)}") from None


def _grouped(rates: Iterable[Rate]) -> dict[str, list[Rate]]:
    grouped: defaultdict[str, list[Rate]] = defaultdict(list)
    for rate in rates:
        grouped[rate.prefix].append(rate)
    for same in grouped.values():
        same.sort(key=lambda rate: (_start(rate), rate.id or 0), reverse=True)
    return grouped


def _start(rate: Rate) -> datetime:
    return _BEGINNING if rate.valid_from is None else _utc(rate.valid_from, _BEGINNING)


def _end(rate: Rate) -> datetime:
    return _END if rate.valid_to is None else _utc(rate.valid_to, _END)


def _utc(at: datetime, otherwise: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:  # a validity "for ever", in a zone where that ends some hours after the calendar
        return otherwise


def _applies(rate: Rate, at: datetime, zone: ZoneInfo) -> bool:
    if rate.valid_from is not None and at < rate.valid_from:
        return False
    if rate.valid_to is not None and at >= rate.valid_to:
        return False
    if rate.weekdays is None and rate.time_of_day is None:
        return True
    local = at.astimezone(zone)
    if rate.weekdays is not None and local.isoweekday() not in rate.weekdays:
        return False
    return rate.time_of_day is None or _within(rate.time_of_day, local.time())


def _within(window: tuple[time, time], at: time) -> bool:
    start, end = window
    return start <= at < end if start < end else at >= start or at < end


def _share_an_instant(one: Rate, other: Rate, zone: ZoneInfo) -> bool:
    start, end = max(_start(one), _start(other)), min(_end(one), _end(other))
    if start >= end or not _share_an_hour_of_the_week(one, other):
        return False
    if end - start >= _EVERY_HOUR_OF_THE_WEEK:
        return True
    return any(
        start <= at < end and _applies(one, at, zone) and _applies(other, at, zone)
        for at in _beginnings(one, other, start, end, zone)
    )


def _share_an_hour_of_the_week(one: Rate, other: Rate) -> bool:
    if not (one.weekdays or WEEK) & (other.weekdays or WEEK):
        return False
    if one.time_of_day is None or other.time_of_day is None:
        return True
    # Two windows meet exactly when one of them begins inside the other.
    return _within(one.time_of_day, other.time_of_day[0]) or _within(other.time_of_day, one.time_of_day[0])


def _beginnings(one: Rate, other: Rate, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Every instant of the span at which both rates could begin to hold: if none is shared, nothing is."""
    yield start
    times = {_MIDNIGHT} | {rate.time_of_day[0] for rate in (one, other) if rate.time_of_day is not None}
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    while day <= last:
        dawn = datetime.combine(day, _MIDNIGHT, zone).astimezone(UTC)
        dusk = datetime.combine(day + timedelta(days=1), _MIDNIGHT, zone).astimezone(UTC)
        for at in times:
            for fold in (0, 1):
                yield datetime.combine(day, at, zone).replace(fold=fold).astimezone(UTC)
        if dusk - dawn != timedelta(days=1):  # the clocks change: a window may begin at the change itself
            for quarter in range((dusk - dawn) // _CLOCKS_CHANGE_ON):
                yield dawn + quarter * _CLOCKS_CHANGE_ON
        day += timedelta(days=1)
