"""Numbers that were ported from one network to another: which network had a number when, and files that say so."""

from __future__ import annotations

import csv
import re
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.billing.rules.tariff_cells import read_network, readers_of
from pipeline.billing.rules.tariff_file import BadLine, BadLinesError
from pipeline.calls.rules.phone_numbers import E164_DIGITS
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

COLUMNS: Final = ("number", "network", "from", "to")
NEEDED: Final = COLUMNS[:3]
_DELIMITERS: Final = (",", ";", "\t")
_NUMBER: Final = re.compile(rf"\+?([1-9][0-9]{{4,{E164_DIGITS - 1}}})", re.ASCII)


class PortedSpan(NamedTuple):
    """A number in a network, from an instant up to before another."""

    number: str
    """E.164 digits without +."""
    network: str
    valid_from: datetime
    valid_to: datetime | None
    """None: still."""

    def holds(self, at: datetime) -> bool:
        """Whether the number was in the network at an instant: its first is meant, the one it ends at is not."""
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


def network_at(spans: Iterable[PortedSpan], at: datetime) -> str:
    """The network that a number was ported to at an instant; empty where none is known.

    Args:
        spans: those of the number, of which no two overlap.
        at: the instant, aware.
    """
    return next((span.network for span in spans if span.holds(at)), "")


class PortedFileError(BadLinesError):
    """It is a file of ported numbers."""


def read_ported(lines: Iterable[str], *, timezone: str) -> Iterator[tuple[int, PortedSpan | list[BadLine]]]:
    """Each line of a file of ported numbers with its number, and what it says or what is wrong with it.

    Args:
        lines: its lines with their ends; the first that is not blank names the columns.
        timezone: the IANA zone of dates, and of times without an offset.

    Raises:
        PortedFileError: there is no header, or a wrong one.
    """
    rest = iter(lines)
    top, header = _first_line(rest)
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(chain([header], rest), delimiter=delimiter, skipinitialspace=True)
    columns = _columns(top, next(reader))
    read = _readers(ZoneInfo(timezone))
    while True:
        line = top + reader.line_num
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [BadLine(line, None, f"the quotes are wrong, or a cell is too long: {error}")]
            continue
        if any(cells):
            yield line, _span(line, cells, columns, read)


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    for number, line in enumerate(lines, 1):
        if line.strip("\ufeff \t\r\n"):
            return number, line.removeprefix("\ufeff")
    raise PortedFileError([BadLine(1, None, "the file is empty")])


def _columns(top: int, row: list[str]) -> list[str]:
    columns = [name.strip().casefold() for name in row]
    bad = [BadLine(top, name, "is missing in the header") for name in NEEDED if name not in columns]
    bad += [
        BadLine(top, shown(name)[1:-1], f"is not a column of ported numbers; known are {', '.join(COLUMNS)}")
        for name in columns
        if name not in COLUMNS
    ]
    bad += [BadLine(top, name, "stands in the header twice") for name in COLUMNS if columns.count(name) > 1]
    if bad:
        raise PortedFileError(bad)
    return columns


def _readers(zone: ZoneInfo) -> dict[str, Callable[[str], object]]:
    cells = readers_of(zone)
    return {
        "number": _number,
        "network": read_network,
        "from": cells["valid_from"],
        "to": lambda cell: cells["valid_to"](cell) if cell else None,
    }


def _number(cell: str) -> str:
    found = _NUMBER.fullmatch(cell)
    if found is None:
        raise ValueError(f"must be a number in E.164 such as +27821234567, got {shown(cell)}")
    return found[1]


def _span(
    line: int, cells: list[str], columns: list[str], read: dict[str, Callable[[str], object]]
) -> PortedSpan | list[BadLine]:
    if len(cells) != len(columns):
        return [BadLine(line, None, f"has {len(cells)} cells, but the header {len(columns)} columns")]
    values: dict[str, object] = {"to": None}
    bad: list[BadLine] = []
    for column, cell in zip(columns, cells, strict=True):
        try:
            values[column] = read[column](cell)
        except ValueError as error:
            bad.append(BadLine(line, column, str(error)))
    if bad:
        return bad
    span = PortedSpan(*(values[name] for name in COLUMNS))  # type: ignore[arg-type]  # as the readers give them
    if span.valid_to is not None and span.valid_to <= span.valid_from:
        return [BadLine(line, "to", "must be after from: it is the first instant that is no longer meant")]
    return span
