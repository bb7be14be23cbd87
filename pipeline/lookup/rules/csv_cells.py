"""CSV that a spreadsheet opens without running any of it."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Cell = str | int | Decimal | None

# What makes a spreadsheet take a cell for a formula, blanks before it included.
_FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def safe(cell: Cell) -> str:
    """A cell as it is written: numbers as they are, and text that could be a formula behind an apostrophe.

    >>> safe("=1+1"), safe("-2+3"), safe("@SUM(A1)"), safe("+27820001234"), safe("campaign001")
    ("'=1+1", "'-2+3", "'@SUM(A1)", "'+27820001234", 'campaign001')
    >>> safe(Decimal("-1.50")), safe("-7"), safe(None)
    ('-1.50', '-7', '')
    """
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    text = str(cell)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_lines(rows: Iterable[Iterable[Cell]]) -> Iterator[str]:
    """The lines of a CSV file."""
    writer = csv.writer(_Passing(), lineterminator="\n")
    for row in rows:
        yield str(writer.writerow([safe(cell) for cell in row]))


class _Passing:
    """A file for `csv.writer` that hands each line back."""

    def write(self, line: str) -> str:
        return line
