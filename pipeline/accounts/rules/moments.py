"""When a call began, as providers write it: by a format, in ISO 8601, as the days of a spreadsheet, in Unix seconds.

A local time is the zone's of the file. Where the clocks are set back an hour is there twice: such a time is the first
of the two, the second, or refused, as the mapping has it. A time that the clocks skip is none, and its line is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from pipeline.accounts.rules.figures import Figure

ISO: Final = "iso"
EXCEL: Final = "excel"
UNIX: Final = "unix"
REPEATED: Final = ("first", "second", "refuse")

_FIRST_YEAR: Final = 1990
_LAST_YEAR: Final = 2099
# Day 60 of a spreadsheet is a 29 February 1900 that never was; no call is as old as that.
_DAY_ZERO: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - local time
_PROBE: Final = datetime(2026, 11, 24, 21, 34, 56)  # noqa: DTZ001 - local time


def format_fault(form: str) -> str | None:
    """What is wrong with a format of `strptime`; None: nothing.

    >>> format_fault("%d.%m.%Y %H:%M:%S"), format_fault("%d.%m.%Y")
    (None, 'must have the day and the time to the minute, such as %d.%m.%Y %H:%M:%S')
    """
    if "%" not in form:
        return f"must be {ISO}, {EXCEL}, {UNIX} or a format such as %d.%m.%Y %H:%M:%S, got {shown(form)}"
    try:
        read = datetime.strptime(_PROBE.replace(tzinfo=UTC).strftime(form), form)  # noqa: DTZ007 - it may have no zone
    except (ValueError, re.error) as error:  # the latter: the same part twice
        return f"must be a format such as %d.%m.%Y %H:%M:%S: {error}"
    if read.replace(second=0, microsecond=0, tzinfo=None) != _PROBE.replace(second=0):
        return "must have the day and the time to the minute, such as %d.%m.%Y %H:%M:%S"
    return None


def moment_reader(
    form: str, zone: ZoneInfo, repeated: str, figure: Callable[[str], Figure]
) -> Callable[[list[str]], datetime]:
    """What reads when a call began.

    >>> from zoneinfo import ZoneInfo
    >>> from pipeline.accounts.rules.figures import figure_reader
    >>> read = moment_reader("%d.%m.%Y %H:%M:%S", ZoneInfo("Europe/Berlin"), "first", figure_reader("1.234,56"))
    >>> read(["24.11.2026", "21:34:56"]).isoformat()
    '2026-11-24T20:34:56+00:00'

    Args:
        form: `ISO`, `EXCEL`, `UNIX`, or a format of `strptime`.
        zone: of the file.
        repeated: one of `REPEATED`: what a time is that the clocks show twice.
        figure: reads the figures of the file.

    Returns:
        A function of the texts of one cell or of two, the day and the time, that gives an instant in UTC. It raises
        ValueError with a sentence that begins with "must" or "is".
    """
    offset_of = _offsets(zone)
    quickly = _quickly(form, lambda hour: _shifted(hour, offset_of(hour)))
    read = {ISO: _iso, EXCEL: _excel(figure), UNIX: _unix(figure)}.get(form) or _by_format(form)

    def carefully(cells: list[str]) -> datetime:
        texts = [cell.strip() for cell in cells]
        if not all(texts):
            raise ValueError("is missing")
        try:
            at = read(texts)
            if at.tzinfo is not None:
                found = at.astimezone(UTC)
            else:
                regular = _shifted(at, offset_of(at.replace(minute=0, second=0, microsecond=0)))
                found = regular or _near_a_change(at, zone, repeated)
        except OverflowError:
            found = None
        if found is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
            raise ValueError(f"must be in a year from {_FIRST_YEAR} to {_LAST_YEAR}, got {shown(' '.join(texts))}")
        return found

    return lambda cells: quickly(cells) or carefully(cells)


_PARTS: Final = {"%Y": "([0-9]{4})", **dict.fromkeys(("%m", "%d", "%H", "%M", "%S"), "([0-9]{1,2})")}


def _quickly(form: str, in_utc: Callable[[datetime], datetime | None]) -> Callable[[list[str]], datetime | None]:
    """What reads times of a format of digits and marks alone, and gives None where it is not sure.

    `strptime` asks for the locale each time and takes 40 % of a line's time; here each hour of a file is read once. A
    test compares both over many times.

    Args:
        form: the format.
        in_utc: gives the instant of a full local hour all of whose times are as far from UTC; None of any other.
    """
    parts = re.findall("%.|[^%]", form)
    named = [part for part in parts if part[0] == "%"]
    marks = {part for part in parts if part not in _PARTS}
    is_plain = sorted(named) in (sorted(_PARTS), sorted(set(_PARTS) - {"%S"}))
    if not is_plain or not marks <= set("./-: T") or re.search("%.%", form):
        return lambda _: None
    pattern = re.compile("".join(_PARTS.get(part) or re.escape(part) for part in parts)).fullmatch
    order = [named.index(part) + 1 for part in _PARTS if part in named]
    has_seconds = "%S" in named

    @lru_cache(maxsize=65_536)
    def hour_of(year: str, month: str, day: str, hour: str) -> datetime | None:
        if not _FIRST_YEAR < int(year) < _LAST_YEAR:  # a year on either side is none in another zone
            return None
        try:
            return in_utc(datetime(int(year), int(month), int(day), int(hour)))  # noqa: DTZ001 - local
        except ValueError:
            return None

    @lru_cache(maxsize=4_096)
    def after_it(minute: str, second: str) -> timedelta | None:
        return timedelta(minutes=int(minute), seconds=int(second)) if int(minute) < 60 and int(second) < 60 else None

    def read(cells: list[str]) -> datetime | None:
        found = pattern(cells[0] if len(cells) == 1 else " ".join(cells))
        if found is None:
            return None
        year, month, day, hour, minute, *seconds = found.group(*order)
        begins, after = hour_of(year, month, day, hour), after_it(minute, seconds[0] if has_seconds else "0")
        return None if begins is None or after is None else begins + after

    return read


def _by_format(form: str) -> Callable[[list[str]], datetime]:
    def read(texts: list[str]) -> datetime:
        try:
            return datetime.strptime(" ".join(texts), form)  # noqa: DTZ007 - local where it has no %z
        except ValueError:
            raise ValueError(f"must be written {form}, got {shown(' '.join(texts))}") from None

    return read


def _iso(texts: list[str]) -> datetime:
    text = " ".join(texts)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or ":" not in text:
        raise ValueError(f"must be a time such as 2026-11-24 21:34:56, got {shown(text)}")
    return at


def _excel(figure: Callable[[str], Figure]) -> Callable[[list[str]], datetime]:
    def read(texts: list[str]) -> datetime:
        days = sum((figure(text).value for text in texts), Decimal())
        return _DAY_ZERO + timedelta(seconds=int((days * 86_400).quantize(Decimal(1), ROUND_HALF_UP)))

    return read


def _unix(figure: Callable[[str], Figure]) -> Callable[[list[str]], datetime]:
    def read(texts: list[str]) -> datetime:
        seconds = int(figure(texts[0]).value.quantize(Decimal(1), ROUND_HALF_UP))
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)

    return read


def _offsets(zone: ZoneInfo) -> Callable[[datetime], timedelta | None]:
    """How far a local hour is from UTC; None where not all of its times are as far."""

    @lru_cache(maxsize=65_536)
    def offset_of(hour: datetime) -> timedelta | None:
        ends = [hour, hour + timedelta(minutes=59, seconds=59, microseconds=999_999)]
        offsets = {end.replace(tzinfo=zone, fold=fold).utcoffset() for end in ends for fold in (0, 1)}
        return offsets.pop() if len(offsets) == 1 else None

    return offset_of


def _shifted(local: datetime, offset: timedelta | None) -> datetime | None:
    return None if offset is None else (local - offset).replace(tzinfo=UTC)


def _near_a_change(at: datetime, zone: ZoneInfo, repeated: str) -> datetime:
    """A local time in UTC, where the clocks may change within the hour."""
    first = at.replace(tzinfo=zone).astimezone(UTC)
    second = at.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) != at:
        raise ValueError(f"is no time in {zone.key}, where the clocks skip it: {at}")
    if first != second and repeated == "refuse":
        raise ValueError(f"is there twice in {zone.key}, where the clocks are set back: {at}")
    return second if repeated == "second" else first
