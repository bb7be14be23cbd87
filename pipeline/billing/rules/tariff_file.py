"""A tariff as a file: one rate a line, read whole or not at all, and written so that it reads the same again.

Money is never guessed: `1,234` is a thousand to some and little more than one to others, so a comma or
a space in an amount is refused, and whoever wrote the file decides.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.billing.rules.rate_deck import overlaps
from pipeline.billing.rules.rating import SECONDS_LIMIT, WEEK, Rate
from pipeline.calls.rules.phone_numbers import E164_DIGITS
from pipeline.errors import DataError, PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

REQUIRED: Final = ("prefix", "rate_per_minute")
COLUMNS: Final = (
    *REQUIRED,
    "description",
    "connect_fee",
    "first_increment",
    "next_increment",
    "minimum_charge",
    "maximum_charge",
    "minimum_seconds",
    "free_below_seconds",
    "attempt_fee",
    "currency",
    "valid_from",
    "valid_to",
    "time_of_day",
    "weekdays",
)
RATES_OF_ONE_PREFIX: Final = 1_000
"""The most rates of one prefix: more are a column gone wrong, and to compare them all would take for ever."""

_DELIMITERS: Final = (",", ";", "\t")
_BYTE_ORDER_MARK: Final = "\ufeff"
_MONEY_DECIMALS: Final = 10
_MONEY_DIGITS: Final = 9
_MONEY: Final = re.compile(r"\+?([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_WHOLE: Final = re.compile(r"\+?[0-9]{1,7}", re.ASCII)
_PREFIX: Final = re.compile(rf"\+?([0-9]{{1,{E164_DIGITS}}})", re.ASCII)
_WINDOW: Final = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?\s*[-–]\s*(\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)  # noqa: RUF001
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DESCRIPTION_CHARACTERS: Final = 500
# A spreadsheet runs a cell that begins so as a formula, unless an apostrophe stands before it.
_FORMULA: Final = re.compile(r"'*[=+\-@]")
_SHIELDED: Final = re.compile(r"'+[=+\-@]")

# Years that leave room on both sides: an instant is still one after a change of zone.
_FIRST_YEAR: Final = 1900
_LAST_YEAR_TO_BEGIN: Final = 9000
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)

# Rates for the same hours of the week surely meet when both are valid for so long.
_EVERY_HOUR_OF_THE_WEEK: Final = timedelta(days=15)
_NO_TIME: Final = timedelta(0)
_FEW: Final = 50


class BadLine(NamedTuple):
    """What is wrong where; the column is None when it is the line as a whole."""

    line: int
    column: str | None
    reason: str


class TariffFileError(PipelineError):
    """A tariff file has lines that cannot be meant, and nothing of it is taken."""

    def __init__(self, bad_lines: Iterable[BadLine]) -> None:
        self.bad_lines = tuple(bad_lines)
        super().__init__(self.bad_lines)

    def __str__(self) -> str:
        line, column, reason = self.bad_lines[0]
        more = f", and {len(self.bad_lines) - 1} more" if len(self.bad_lines) > 1 else ""
        return f"line {line}: {column + ': ' if column else ''}{reason}{more}"


class TariffFile(NamedTuple):
    """What a file says. A rate's `id` is the line it stands on."""

    rates: tuple[Rate, ...]
    currency: str


def read_tariff(source: str | Iterable[str], *, default_currency: str, timezone: str) -> TariffFile:
    """Read a tariff file, all of it or nothing.

    Args:
        source: the file's text, or its lines with their ends.
        default_currency: the currency of a file that names none.
        timezone: the IANA zone of dates, and of times without an offset.

    Raises:
        TariffFileError: with every bad line.
        DataError: the default currency is none.
    """
    if default_currency not in MINOR_UNITS:
        raise DataError("currency", f"must be an ISO 4217 code such as ZAR, got {shown(default_currency)}")
    lines = iter(io.StringIO(source, newline="") if isinstance(source, str) else source)
    top, header = _first_line(lines)
    delimiter = _delimiter(header)
    rows = _rows(chain([header], lines), delimiter, top)
    columns, bad = _header(next(rows))
    if bad:
        raise TariffFileError(bad)
    rates, currency, bad = _rates(rows, columns, default_currency, ZoneInfo(timezone))
    if not rates and not bad:
        bad.append(BadLine(top, None, "there is no rate below the header"))
    bad += _overlapping(rates, timezone)
    if bad:
        place = {column: place for place, column in enumerate(columns)}
        raise TariffFileError(sorted(bad, key=lambda one: (one.line, place.get(one.column or "", -1))))
    return TariffFile(tuple(rates), currency)


def write_tariff(rates: Iterable[Rate], *, currency: str, timezone: str) -> Iterator[str]:
    """The lines of a file that reads as these rates again; instants are written in the zone.

    A description that a spreadsheet would run as a formula gets an apostrophe, which reading takes away.
    """
    zone = ZoneInfo(timezone)
    writer = csv.writer(_Passing(), lineterminator="\n")
    yield str(writer.writerow(COLUMNS))
    for rate in rates:
        cells = (
            rate.prefix,
            f"{rate.rate_per_minute:f}",
            _shield(rate.description),
            f"{rate.connect_fee:f}",
            rate.first_increment,
            rate.next_increment,
            "" if rate.minimum_charge is None else f"{rate.minimum_charge:f}",
            "" if rate.maximum_charge is None else f"{rate.maximum_charge:f}",
            rate.minimum_seconds,
            rate.free_below_seconds,
            f"{rate.attempt_fee:f}",
            currency,
            _written_instant(rate.valid_from, zone),
            _written_instant(rate.valid_to, zone),
            "" if rate.time_of_day is None else "-".join(_written_time(at) for at in rate.time_of_day),
            "" if rate.weekdays is None else ",".join(map(str, sorted(rate.weekdays))),
        )
        yield str(writer.writerow(cells))


class _Passing:
    """A file for `csv.writer` that hands each line back."""

    def write(self, line: str) -> str:
        return line


# --- the header ---


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        if text.strip():
            return number, text
    raise TariffFileError([BadLine(1, None, "the file is empty")])


def _delimiter(header: str) -> str:
    def known(delimiter: str) -> int:
        return sum(_column(name) in COLUMNS for name in header.replace('"', "").split(delimiter))

    return max(_DELIMITERS, key=known)


def _column(name: str) -> str:
    """A column's name without what people add to it.

    >>> _column(" Rate per-minute ")
    'rate_per_minute'
    """
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _header(row: _Row) -> tuple[list[str], list[BadLine]]:
    if isinstance(row.cells, str):
        return [], [BadLine(row.line, None, row.cells)]
    columns = [_column(name) for name in row.cells]
    if not set(columns) & set(COLUMNS):
        wanted = " and ".join(REQUIRED)
        return columns, [BadLine(row.line, None, f"the first line must name the columns, at least {wanted}")]
    bad = []
    for place, (name, written) in enumerate(zip(columns, row.cells, strict=True)):
        if not name:
            bad.append(BadLine(row.line, None, f"column {place + 1} has no name"))
        elif name not in COLUMNS:
            near = [column for column in COLUMNS if column.startswith(name)]
            near = near or difflib.get_close_matches(name, COLUMNS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COLUMNS)}"
            bad.append(BadLine(row.line, shown(written)[1:-1], f"is not a column of a tariff; {hint}"))
        elif name in columns[:place]:
            bad.append(BadLine(row.line, name, "stands in the header twice"))
    bad += [BadLine(row.line, name, "is missing in the header") for name in REQUIRED if name not in columns]
    return columns, bad


# --- the lines ---


class _Row(NamedTuple):
    line: int
    cells: list[str] | str
    """The cells; or, for a line that has none, why."""


def _rows(lines: Iterable[str], delimiter: str, top: int) -> Iterator[_Row]:
    """Each line that is not blank, numbered as an editor numbers it; `top` is the header's number."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = top + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Row(line, f"the quotes are wrong, or a cell is too long: {error}")
            continue
        cells = [cell.strip() for cell in cells]
        if any(cells):
            yield _Row(line, cells)


def _rates(
    rows: Iterable[_Row], columns: list[str], default_currency: str, zone: ZoneInfo
) -> tuple[list[Rate], str, list[BadLine]]:
    readers = _readers(zone)
    reading = [(column, readers[column], column in REQUIRED) for column in columns]
    rates: list[Rate] = []
    bad: list[BadLine] = []
    currency, currency_line = default_currency, 0
    for line, cells in rows:
        if isinstance(cells, str) or len(cells) != len(columns):
            reason = cells if isinstance(cells, str) else _wrong_length(cells, columns)
            bad.append(BadLine(line, None, reason))
            continue
        values, wrong = _values(line, cells, reading)
        named = values.pop("currency", default_currency)
        if not wrong:
            if not currency_line:
                currency, currency_line = named, line
            elif named != currency:
                reason = f"must be one for all lines, got {named} after {currency} on line {currency_line}"
                wrong.append(BadLine(line, "currency", reason))
            try:
                rates.append(Rate(id=line, **values))
            except DataError as error:
                wrong.append(BadLine(line, error.field, error.reason))
        bad += wrong
    return rates, currency, bad


def _values(
    line: int, cells: list[str], reading: list[tuple[str, Callable[[str], object], bool]]
) -> tuple[dict[str, Any], list[BadLine]]:
    values: dict[str, Any] = {}
    wrong: list[BadLine] = []
    for (column, read, required), cell in zip(reading, cells, strict=True):
        if not cell and not required:
            continue
        try:
            values[column] = read(cell)
        except ValueError as error:
            wrong.append(BadLine(line, column, str(error)))
    return values, wrong


def _wrong_length(cells: list[str], columns: list[str]) -> str:
    if len(cells) > len(columns):
        return (
            f"has {len(cells)} cells, but the header {len(columns)} columns; "
            "a cell that holds the delimiter must stand in double quotes"
        )
    return f"has {len(cells)} cells, but the header {len(columns)} columns; {columns[len(cells)]} is missing"


def _overlapping(rates: list[Rate], timezone: str) -> list[BadLine]:
    """Rates between which a call could not choose; of each two that are, the later line is the bad one."""
    grouped: defaultdict[str, list[Rate]] = defaultdict(list)
    for rate in rates:
        grouped[rate.prefix].append(rate)
    bad: list[BadLine] = []
    clashes: list[tuple[Rate, Rate]] = []
    suspects: list[Rate] = []
    for prefix, same in grouped.items():
        if len(same) == 1:
            continue
        left, plain = _sweep(same)
        if plain and len(same) <= _FEW:  # then every pair is looked at, and named
            suspects += same
            continue
        clashes += plain
        if len(left) > RATES_OF_ONE_PREFIX:
            line = sorted(rate.id or 0 for rate in left)[RATES_OF_ONE_PREFIX]
            bad.append(BadLine(line, "prefix", f"{shown(prefix)} has more than {RATES_OF_ONE_PREFIX} rates"))
        else:
            suspects += left
    clashes += overlaps(suspects, timezone)
    first: dict[int, int] = {}
    for one, other in clashes:
        earlier, later = sorted((one.id or 0, other.id or 0))
        first[later] = min(earlier, first.get(later, earlier))
    return bad + [
        BadLine(line, "prefix", f"is the same as on line {earlier}, and at some time both would hold")
        for line, earlier in first.items()
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


# --- the cells ---


def _readers(zone: ZoneInfo) -> dict[str, Callable[[str], object]]:
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


def _shield(description: str) -> str:
    return f"'{description}" if _FORMULA.match(description) else description


def _instant(cell: str, zone: ZoneInfo, *, last_year: int = _LAST_YEAR_TO_BEGIN) -> datetime:
    """An ISO date or time; without an offset it is local, and a date is the first instant of its day.

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


def _written_instant(at: datetime | None, zone: ZoneInfo) -> str:
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


def _written_time(at: time) -> str:
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
