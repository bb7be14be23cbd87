"""The cells of a tariff file: what each may hold, and how it is written so that it reads the same again.

Money is never guessed: `1,234` is a thousand to some and little more than one to others, so a comma or
a space in an amount is refused, and whoever wrote the file decides.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.billing.rules.rating import SECONDS_LIMIT, WEEK
from pipeline.calls.rules.phone_numbers import E164_DIGITS
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

_MONEY_DECIMALS: Final = 10
_MONEY_DIGITS: Final = 9
_MONEY: Final = re.compile(r"\+?([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_WHOLE: Final = re.compile(r"\+?[0-9]{1,7}", re.ASCII)
_PREFIX: Final = re.compile(rf"\+?([0-9]{{1,{E164_DIGITS}}})", re.ASCII)
_WINDOW: Final = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?\s*[-–]\s*(\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)  # noqa: RUF001
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DESCRIPTION_CHARACTERS: Final = 500
_NETWORK_CHARACTERS: Final = 100
# A spreadsheet runs a cell that begins so as a formula, unless an apostrophe stands before it.
_FORMULA: Final = re.compile(r"'*[=+\-@]")
_SHIELDED: Final = re.compile(r"'+[=+\-@]")

# Years that leave room on both sides: an instant is still one after a change of zone.
_FIRST_YEAR: Final = 1900
_LAST_YEAR_TO_BEGIN: Final = 9000


def readers_of(zone: ZoneInfo) -> dict[str, Callable[[str], object]]:
    """How each column is read; a few distinct cells make up most of a column, and share one value."""

    @lru_cache(maxsize=4_096)
    def instant(cell: str) -> datetime:
        return _instant(cell, zone)

    @lru_cache(maxsize=4_096)
    def last_instant(cell: str) -> datetime:
        return _instant(cell, zone, last_year=9999)

    description = lru_cache(maxsize=4_096)(_description)
    return {
        "prefix": _prefix,
        "rate_per_minute": _money,
        "description": description,
        "connect_fee": _money,
        "first_increment": _increment,
        "next_increment": _increment,
        "minimum_charge": _money,
        "maximum_charge": _money,
        "minimum_seconds": _seconds,
        "free_below_seconds": _seconds,
        "attempt_fee": _money,
        "currency": _currency,
        "valid_from": instant,
        "valid_to": last_instant,
        "time_of_day": _time_of_day,
        "weekdays": _weekdays,
        "network": read_network,
    }


def _prefix(cell: str) -> str:
    if not cell:
        return ""
    found = _PREFIX.fullmatch(cell)
    if found is None:
        raise ValueError(
            f"must be at most {E164_DIGITS} digits, with or without + before them, "
            f"or empty for the default rate, got {shown(cell)}"
        )
    return found[1]


@lru_cache(maxsize=4_096)
def _money(cell: str) -> Decimal:
    """An amount as it can be written one way only.

    >>> _money("0.60"), _money("7")
    (Decimal('0.60'), Decimal('7'))
    """
    found = _MONEY.fullmatch(cell)
    if found is None:
        raise ValueError(_why_not_money(cell))
    whole, decimals = found[1], found[2] or ""
    if len(decimals) > _MONEY_DECIMALS:
        raise ValueError(f"must have at most {_MONEY_DECIMALS} decimals, got {shown(cell)}")
    if len(whole.lstrip("0")) > _MONEY_DIGITS:
        raise ValueError(f"must have at most {_MONEY_DIGITS} digits before the point, got {shown(cell)}")
    return Decimal(cell)


def _why_not_money(cell: str) -> str:
    if not cell:
        return "is missing"
    if cell.startswith(("-", "\u2212", "(")):
        return f"must not be negative, got {shown(cell)}"
    if any(mark in cell for mark in (",", "'", "\u2019", " ", "\u00a0", "\u202f")) or cell.count(".") > 1:
        return f"must have no thousands separator, and a point before the decimals, got {shown(cell)}"
    return f"must be digits and a decimal point, such as 0.60, got {shown(cell)}"


@lru_cache(maxsize=4_096)
def _seconds(cell: str) -> int:
    if cell.startswith("-"):
        raise ValueError(f"must not be negative, got {shown(cell)}")
    if _WHOLE.fullmatch(cell) is None or int(cell) > SECONDS_LIMIT:
        raise ValueError(f"must be whole seconds, at most {SECONDS_LIMIT}, got {shown(cell)}")
    return int(cell)


@lru_cache(maxsize=4_096)
def _increment(cell: str) -> int:
    seconds = _seconds(cell)
    if not seconds:
        raise ValueError("must be at least 1 second, got 0")
    return seconds


@lru_cache(maxsize=4_096)
def _currency(cell: str) -> str:
    code = cell.upper()
    if code not in MINOR_UNITS:
        raise ValueError(f"must be an ISO 4217 code such as ZAR, got {shown(cell)}")
    return code


def _description(cell: str) -> str:
    if _CONTROLS.search(cell):
        raise ValueError(f"must be one line of printable text, got {shown(cell)}")
    text = cell[1:] if _SHIELDED.match(cell) else cell
    if len(text) > _DESCRIPTION_CHARACTERS:
        raise ValueError(f"must be at most {_DESCRIPTION_CHARACTERS} characters, got {len(text)}")
    return text


@lru_cache(maxsize=4_096)
def read_network(cell: str) -> str:
    """A network's name, as both a rate and a ported number have it; what differs only by case is another one.

    >>> read_network(" Vodacom ")
    'Vodacom'
    """
    name = _description(cell.strip())
    if not name or len(name) > _NETWORK_CHARACTERS:
        raise ValueError(f"must be a network's name of at most {_NETWORK_CHARACTERS} characters, got {shown(cell)}")
    return name


def shielded(description: str) -> str:
    return f"'{description}" if _FORMULA.match(description) else description


def _instant(cell: str, zone: ZoneInfo, *, last_year: int = _LAST_YEAR_TO_BEGIN) -> datetime:
    """An ISO date or time; without an offset it is local, and a date is the first instant of its day.

    >>> from zoneinfo import ZoneInfo
    >>> _instant("2026-07-01", ZoneInfo("Africa/Johannesburg")).isoformat()
    '2026-06-30T22:00:00+00:00'
    """
    try:
        at = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError(
            f"must be a date such as 2026-07-01 or a time such as 2026-07-01T08:00, got {shown(cell)}"
        ) from None
    if not _FIRST_YEAR <= at.year <= last_year:
        raise ValueError(f"must be in a year from {_FIRST_YEAR} to {last_year}, got {shown(cell)}")
    try:
        return (at if at.utcoffset() is not None else at.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"must be before the end of the year 9999 in UTC, got {shown(cell)}") from None


def written_instant(at: datetime | None, zone: ZoneInfo) -> str:
    if at is None:
        return ""
    try:
        local = at.astimezone(zone)
    except OverflowError:
        return at.isoformat()
    if _is_start_of(local.date(), at, zone):
        return local.date().isoformat()
    return local.isoformat()


def _is_start_of(day: date, at: datetime, zone: ZoneInfo) -> bool:
    return datetime.combine(day, time(0), zone).astimezone(UTC) == at


@lru_cache(maxsize=4_096)
def _time_of_day(cell: str) -> tuple[time, time] | None:
    """A window of the day; the whole day is no window.

    >>> _time_of_day("22:00-6:00")
    (datetime.time(22, 0), datetime.time(6, 0))
    """
    wanted = ValueError(f"must be a window such as 08:00-20:00, got {shown(cell)}")
    found = _WINDOW.fullmatch(cell)
    if found is None:
        raise wanted
    numbers = [int(group or 0) for group in found.groups()]
    ends_at_midnight = numbers[3:] == [24, 0, 0]
    if ends_at_midnight:
        numbers[3] = 0
    try:
        start, end = (time(hour, minute, second) for hour, minute, second in (numbers[:3], numbers[3:]))
    except ValueError:
        raise wanted from None
    if start == end:
        if ends_at_midnight:
            return None
        raise ValueError(f"begins when it ends; the whole day is 00:00-24:00, or nothing; got {shown(cell)}")
    return start, end


def written_time(at: time) -> str:
    return at.isoformat("seconds" if at.second else "minutes")


@lru_cache(maxsize=4_096)
def _weekdays(cell: str) -> frozenset[int]:
    """Days and ranges of days, Monday is 1; a range may go over the weekend.

    >>> sorted(_weekdays("mon-wed, 6")), sorted(_weekdays("sat-mon"))
    ([1, 2, 3, 6], [1, 6, 7])
    """
    days: set[int] = set()
    for part in re.split(r"\s*[,\s]\s*", re.sub(r"\s*-\s*", "-", cell)):
        first, dash, last = part.partition("-")
        start, end = _weekday(first, cell), _weekday(last if dash else first, cell)
        days.update(range(start, end + 1) if start <= end else WEEK - set(range(end + 1, start)))
    return frozenset(days)


def _weekday(text: str, cell: str) -> int:
    name = text.casefold()
    if len(name) >= 3:
        for number, day in enumerate(_DAYS, 1):
            if day.startswith(name):
                return number
    if text in {"1", "2", "3", "4", "5", "6", "7"}:
        return int(text)
    raise ValueError(f"must be days such as 1-5, mon-fri or 1,2,6 (Monday is 1), got {shown(cell)}")
