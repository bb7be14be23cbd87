"""The rows of a delimited file, each with its text as it came.

A quote that is never closed costs its own line and no other: what stands in quotes may go over a few lines, and where
it does not end by then, the reading goes on behind the line that began it.
"""

from __future__ import annotations

import csv
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_LINE: Final = 65_536
"""Characters. A longer one is no line of calls, and the file is none."""
LINES_OF_A_ROW: Final = 16


class NotRowsError(PipelineError):
    """What is read is no file of rows; the text says why."""


class Row(NamedTuple):
    """A row."""

    line: int
    """Where it begins, from 1."""
    raw: str
    """As it came, without the end of its last line."""
    cells: list[str]
    fault: str | None
    """Why it could not be taken apart."""


class Rows:
    """An iterator over the rows of a text.

    Args:
        readline: gives the next line with its end, at most so many characters of it; nothing at the end.
        delimiter: between cells.
        quote: around cells that have a delimiter in them; empty: none is.
    """

    def __init__(self, readline: Callable[[int], str], delimiter: str, quote: str) -> None:
        self._readline = readline
        self._delimiter = delimiter
        self._quote = quote
        self._waiting: deque[str] = deque()
        self._line = 0

    def __iter__(self) -> Iterator[Row]:
        """Each row.

        Raises:
            NotRowsError: a line is too long for one.
        """
        delimiter, quote = self._delimiter, self._quote
        while line := self._next():
            self._line += 1
            if quote and quote in line:
                yield self._quoted(line)
            else:
                raw = line.rstrip("\r\n")
                yield Row(self._line, raw, raw.split(delimiter), None)

    def _next(self) -> str:
        if self._waiting:
            return self._waiting.popleft()
        line = self._readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise NotRowsError(f"line {self._line + 1} has more than {LONGEST_LINE} characters: it is no file of calls")
        return line

    def _quoted(self, line: str) -> Row:
        """A row with quotes in it, over as many lines as those take."""
        taken = [line]

        def lines() -> Iterator[str]:
            yield line
            while len(taken) < LINES_OF_A_ROW and (more := self._next()):
                taken.append(more)
                yield more

        first = self._line
        reader = csv.reader(lines(), delimiter=self._delimiter, quotechar=self._quote, strict=True)
        try:
            cells = next(reader)
        except csv.Error as error:
            self._waiting.extendleft(reversed(taken[1:]))
            fault = (
                "has a quote that is not closed" if "end of data" in str(error) else "has a quote in the wrong place"
            )
            return Row(first, line.rstrip("\r\n"), [], fault)
        self._line += len(taken) - 1
        return Row(first, "".join(taken).rstrip("\r\n"), cells, None)
