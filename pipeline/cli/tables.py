"""Tables that cut nothing: as wide as the terminal allows, else a record a row; tabs and plain figures for a pipe."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import rich.table
from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text

from pipeline.logs.rules.visible import visible
from pipeline.lookup.rules.csv_cells import csv_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

Cell = str | int | Decimal | Text | None
"""A figure is a number: people see it with separators and to the right, scripts as it is."""

_GAP: Final = 2
_NARROWEST: Final = 30
"""No sentence beside others is folded into fewer columns than these; each row becomes a record then."""
_LEAST: Final = 10
"""No value beside its name is folded into fewer columns than these."""


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class Table(rich.table.Table):
    """Rows under headings of one word; each cell is one line of text.

    In a terminal a column is as wide as its longest cell. The last one, which has the sentences, and any with
    ``overflow="fold"`` are folded where that is too wide; where even that does not do, each row is shown as a record,
    a value a line. A pipe gets one line a row, with tabs between the cells.

    Args:
        headings: what each column is called.
        options: as rich's own table takes them.
    """

    def __init__(self, *headings: str, **options: Any) -> None:
        super().__init__(*headings, **(options | {"box": None, "pad_edge": False}))
        self._plain_rows: list[list[str]] = []

    def add_row(self, *cells: RenderableType | Cell, **options: Any) -> None:
        """Add a row; texts in it are shown as they are, numbers with separators."""
        self._plain_rows.append([_plain(cell) for cell in cells])
        for column, cell in zip(self.columns, cells, strict=False):
            if isinstance(cell, int | Decimal):
                column.justify = "right"
        super().add_row(*map(_text, cells), **options)

    def as_csv(self) -> Iterator[str]:
        """The lines of a CSV file, with the headings for names."""
        return csv_lines([[heading.replace(" ", "_") for heading in self._headings()], *self._plain_rows])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As a terminal of this width, or a pipe, can hold it."""
        if not console.is_terminal:
            yield from self._tabbed()
        elif self._fits(options.max_width):
            yield from super().__rich_console__(console, options)
        else:
            yield from self._records(options.max_width)

    def _headings(self) -> list[str]:
        return [visible(str(column.header)) for column in self.columns]

    def _tabbed(self) -> Iterator[Segment]:
        titles = [self._headings()] if self.show_header else []
        for row in [*titles, *self._plain_rows]:
            yield Segment("\t".join(map(visible, row)) + "\n")

    def _fits(self, most: int) -> bool:
        """Whether each column has its width, which it is given, or is wide enough to be folded."""
        widths = [
            max(
                cell_len(visible(str(column.header))) if self.show_header else 0,
                *(cell_len(str(cell)) for cell in column.cells),
                1,
            )
            for column in self.columns
        ]
        narrowest = _NARROWEST if self.show_header else _LEAST
        left = most - _GAP * (len(widths) - 1) - sum(widths)
        for at, column in enumerate(self.columns):
            folds = column.justify == "left" and (column.overflow == "fold" or at == len(widths) - 1)
            if folds and left < 0:
                narrower = max(widths[at] + left, min(widths[at], narrowest))
                left += widths[at] - narrower
                widths[at] = narrower
            column.width, column.no_wrap, column.overflow = widths[at], not folds, "fold"
        return left >= 0

    def _records(self, most: int) -> Iterator[RenderableType]:
        """Each row below the other, a value a line; what is longer goes on in the next."""
        headings = self._headings() if self.show_header else [""] * len(self.columns)
        room = most - max(map(cell_len, headings)) - _GAP
        for number, row in enumerate(zip(*(column.cells for column in self.columns), strict=True)):
            if number and self.show_header:
                yield Text()
            named = [(heading, cell) for heading, cell in zip(headings, row, strict=True) if str(cell)]
            if self.show_header and room >= _LEAST:
                record = rich.table.Table.grid(padding=(0, _GAP, 0, 0))
                record.add_column(no_wrap=True, style="bold", min_width=most - room - _GAP)
                record.add_column(overflow="fold")
                for pair in named:
                    record.add_row(*pair)
                yield record
            else:
                yield from (Text.assemble(heading, " " if heading else "", cell) for heading, cell in named)


def _plain(cell: RenderableType | Cell) -> str:
    """A cell as a script reads it."""
    if cell is None:
        return ""
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)


def _text(cell: RenderableType | Cell) -> Text:
    """A cell as a person reads it, on one line."""
    if isinstance(cell, Text):
        return cell if cell.plain == visible(cell.plain) else Text(visible(cell.plain), cell.style)
    if isinstance(cell, Decimal):
        return Text(f"{cell:,f}")
    if isinstance(cell, int):
        return Text(f"{cell:,}")
    return Text(visible("" if cell is None else str(cell)))


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things, in the words a person would use.

    >>> counted(1, "call"), counted(1050, "call"), counted(0, "reply", "replies")
    ('1 call', '1,050 calls', '0 replies')
    """
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def percent(rate: Decimal | None) -> str:
    """A part of a whole as people read it, and a dash where there is no whole.

    >>> percent(Decimal("0.2346")), percent(None)
    ('23.5 %', '-')
    """
    return "-" if rate is None else f"{rate * 100:.1f} %"
