"""A tariff as a file: one rate a line, read whole or not at all, and written so that it reads the same again."""

from __future__ import annotations

import csv
import difflib
import io
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.billing.rules.rating import Rate
from pipeline.billing.rules.tariff_cells import readers_of, shielded, written_instant, written_time
from pipeline.billing.rules.tariff_clashes import clashes_of
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
    "network",
)
_DELIMITERS: Final = (",", ";", "\t")
_BYTE_ORDER_MARK: Final = "\ufeff"


class BadLine(NamedTuple):
    """What is wrong where; the column is None when it is the line as a whole."""

    line: int
    column: str | None
    reason: str


class BadLinesError(PipelineError):
    """A file has lines that cannot be meant, and nothing of it is taken."""

    def __init__(self, bad_lines: Iterable[BadLine]) -> None:
        self.bad_lines = tuple(bad_lines)
        super().__init__(self.bad_lines)

    def __str__(self) -> str:
        line, column, reason = self.bad_lines[0]
        more = f", and {len(self.bad_lines) - 1} more" if len(self.bad_lines) > 1 else ""
        return f"line {line}: {column + ': ' if column else ''}{reason}{more}"


class TariffFileError(BadLinesError):
    """It is a tariff file."""


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
    bad += [BadLine(line, "prefix", reason) for line, reason in clashes_of(rates, timezone)]
    if bad:
        place = {column: place for place, column in enumerate(columns)}
        raise TariffFileError(sorted(bad, key=lambda one: (one.line, place.get(one.column or "", -1))))
    return TariffFile(tuple(rates), currency)


def write_tariff(rates: Iterable[Rate], *, currency: str, timezone: str, networks: bool = False) -> Iterator[str]:
    """The lines of a file that reads as these rates again; instants are written in the zone.

    A description that a spreadsheet would run as a formula gets an apostrophe, which reading takes away.

    Args:
        rates: the rates.
        currency: that of their amounts.
        timezone: the zone.
        networks: whether there is a column for the network, which a provider's rates may have.
    """
    zone = ZoneInfo(timezone)
    writer = csv.writer(_Passing(), lineterminator="\n")
    yield str(writer.writerow(COLUMNS if networks else [name for name in COLUMNS if name != "network"]))
    for rate in rates:
        cells: tuple[object, ...] = (
            rate.prefix,
            f"{rate.rate_per_minute:f}",
            shielded(rate.description),
            f"{rate.connect_fee:f}",
            rate.first_increment,
            rate.next_increment,
            "" if rate.minimum_charge is None else f"{rate.minimum_charge:f}",
            "" if rate.maximum_charge is None else f"{rate.maximum_charge:f}",
            rate.minimum_seconds,
            rate.free_below_seconds,
            f"{rate.attempt_fee:f}",
            currency,
            written_instant(rate.valid_from, zone),
            written_instant(rate.valid_to, zone),
            "" if rate.time_of_day is None else "-".join(written_time(at) for at in rate.time_of_day),
            "" if rate.weekdays is None else ",".join(map(str, sorted(rate.weekdays))),
        )
        yield str(writer.writerow((*cells, shielded(rate.network)) if networks else cells))


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
    readers = readers_of(zone)
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
