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
    in_utc = _in_utc(zone, repeated)
    read = {ISO: _iso, EXCEL: _excel(figure), UNIX: _unix(figure)}.get(form) or _by_format(form)

    def moment(cells: list[str]) -> datetime:
        texts = [cell.strip() for cell in cells]
        if not all(texts):
            raise ValueError("is missing")
        try:
            at = read(texts)
            found = in_utc(at) if at.tzinfo is None else at.astimezone(UTC)
        except OverflowError:
            found = None
        if found is None or not _FIRST_YEAR <= found.year <= _LAST_YEAR:
            raise ValueError(f"must be in a year from {_FIRST_YEAR} to {_LAST_YEAR}, got {shown(' '.join(texts))}")
        return found

    return moment


_PARTS: Final = {"%Y": r"([0-9]{4})", **dict.fromkeys(("%m", "%d", "%H", "%M", "%S"), "([0-9]{1,2})")}


def _ordinary(form: str) -> Callable[[str], list[int] | None] | None:
    """What takes apart times of a format that has digits and marks alone; None: the format is another.

    `strptime` asks for the locale each time and takes 40 % of a line's time. A test compares both over many times.
    """
    parts = re.findall("%.|[^%]", form)
    named = [part for part in parts if part[0] == "%"]
    if sorted(named) not in (sorted(_PARTS), sorted(set(_PARTS) - {"%S"})):
        return None
    marks = [part for part in parts if part not in _PARTS]
    if not set(marks) <= set("./-: T") or re.search("%.%", form):
        return None
    pattern = re.compile("".join(_PARTS.get(part) or (r"\s+" if part == " " else re.escape(part)) for part in parts))
    order = [named.index(part) + 1 for part in _PARTS if part in named]

    def parts_of(text: str) -> list[int] | None:
        found = pattern.fullmatch(text)
        return None if found is None else [int(found[place]) for place in order]

    return parts_of


def _by_format(form: str) -> Callable[[list[str]], datetime]:
    ordinary = _ordinary(form)

    def read(texts: list[str]) -> datetime:
        try:
            if ordinary is not None and (parts := ordinary(" ".join(texts))):
                return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - local
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


def _in_utc(zone: ZoneInfo, repeated: str) -> Callable[[datetime], datetime]:
    """Local times to UTC; the zone is asked once for each hour whose times all are as far from UTC."""

    @lru_cache(maxsize=65_536)
    def offset_of(hour: datetime) -> timedelta | None:
        ends = [hour, hour + timedelta(minutes=59, seconds=59, microseconds=999_999)]
        offsets = {end.replace(tzinfo=zone, fold=fold).utcoffset() for end in ends for fold in (0, 1)}
        return offsets.pop() if len(offsets) == 1 else None

    def in_utc(at: datetime) -> datetime:
        offset = offset_of(at.replace(minute=0, second=0, microsecond=0))
        return (at - offset).replace(tzinfo=UTC) if offset is not None else _carefully(at, zone, repeated)

    return in_utc


def _carefully(at: datetime, zone: ZoneInfo, repeated: str) -> datetime:
    """The same, near a change of the clocks."""
    first = at.replace(tzinfo=zone).astimezone(UTC)
    second = at.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) != at:
        raise ValueError(f"is no time in {zone.key}, where the clocks skip it: {at}")
    if first != second and repeated == "refuse":
        raise ValueError(f"is there twice in {zone.key}, where the clocks are set back: {at}")
    return second if repeated == "second" else first
