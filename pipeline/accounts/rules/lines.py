"""One line of a provider's file, read by the mapping: a call as the provider bills it, or why it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.accounts.rules.durations import MOST_IN_ALL, duration_reader
from pipeline.accounts.rules.figures import figure_reader
from pipeline.accounts.rules.mapping import MappingError, named_columns
from pipeline.accounts.rules.moments import moment_reader
from pipeline.accounts.rules.numbers import number_reader
from pipeline.billing.rules.currencies import MINOR_UNITS
from pipeline.errors import PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from decimal import Decimal

    from pipeline.accounts.rules.figures import Figure
    from pipeline.accounts.rules.mapping import Column, Mapping

    Stated = dict[str, Figure | int]

REFERENCE_CHARACTERS: Final = 230


class ProviderLine(NamedTuple):
    """A call as the provider bills it."""

    number: str
    """Who was called: E.164 with +."""
    started_at: datetime
    """In UTC."""
    seconds: int
    """As the provider states them, before its increments where the file has both."""
    billed_seconds: int | None
    amount: Decimal
    """What it costs; below zero: a credit."""
    currency: str
    rate: Decimal | None
    """A minute's."""
    caller: str | None
    """Who called: E.164 with + where it can be read so, else as it came."""
    reference: str | None
    """The provider's own."""


class LineError(PipelineError, ValueError):
    """A line cannot be read; the text names the key of the mapping whose cell is to blame."""


class Places:
    """Where the columns of a mapping are in a file.

    Args:
        mapping: names them.
        heading: the cells of the line that names the columns; None: the file has none.

    Raises:
        MappingError: a column is not there, or is there twice.
    """

    def __init__(self, mapping: Mapping, heading: Sequence[str] | None) -> None:
        self._names = None if heading is None else [cell.strip().casefold() for cell in heading]
        self.width = None if heading is None else len(heading)
        mistakes = [f"{key}: {fault}" for key, column in named_columns(mapping) if (fault := self._fault(column))]
        if mistakes:
            there = ", ".join(shown(cell.strip()) for cell in heading or ())
            raise MappingError(
                [*mistakes, f"the columns of the file are {there}" if there else "the file has no heading"]
            )
        self.needed = max(self.of(column) + 1 for key, column in named_columns(mapping) if not key.startswith("totals"))

    def of(self, column: Column) -> int:
        """The place of a column, from 0."""
        return column - 1 if isinstance(column, int) else (self._names or []).index(column.strip().casefold())

    def _fault(self, column: Column) -> str | None:
        if isinstance(column, int):
            return f"the file has no column {column}" if self.width is not None and column > self.width else None
        times = (self._names or []).count(column.strip().casefold())
        if times == 1:
            return None
        return f"the file has {'several columns' if times else 'no column'} {shown(column)}"


class LineReader:
    """Reads the cells of a line.

    Args:
        mapping: says how.
        places: of its columns.
        zone: of the file's times.
        region: of numbers written as dialled.
    """

    def __init__(self, mapping: Mapping, places: Places, zone: str, region: str) -> None:
        columns, formats, of = mapping.columns, mapping.formats, places.of
        self.places = places
        self.figure = figure_reader(mapping.file.numbers)
        self._number = number_reader(formats.number, region)
        self._moment = moment_reader(formats.started_at, ZoneInfo(zone), formats.repeated_hour, self.figure)
        self._seconds = duration_reader(formats.seconds, self.figure)
        self._billed = duration_reader(formats.billed_seconds or formats.seconds, self.figure)
        started = columns.started_at if isinstance(columns.started_at, list) else [columns.started_at]
        self._started_at = [of(column) for column in started]
        self._at_number, self._at_seconds, self._at_amount = of(columns.number), of(columns.seconds), of(columns.amount)
        self._at_billed, self._at_currency, self._at_rate, self._at_caller, self._at_reference = (
            None if column is None else of(column)
            for column in (
                columns.billed_seconds, columns.currency, columns.rate, columns.caller, columns.reference
            )
        )  # fmt: skip
        self._currency = mapping.constants.currency
        self._skips = [
            (of(each.column), each.is_ is not None, frozenset(map(_folded, each.is_ or each.is_not or ())))
            for each in mapping.skip
        ]

    def is_skipped(self, cells: Sequence[str]) -> bool:
        """Whether the mapping leaves a line out."""
        for place, wanted, texts in self._skips:
            if place < len(cells) and (_folded(cells[place]) in texts) is wanted:
                return True
        return False

    def read(self, cells: Sequence[str]) -> ProviderLine:
        """The call.

        Raises:
            LineError: it cannot be read.
        """
        self._check_width(cells)
        key = "number"
        try:
            number = self._number(cells[self._at_number])
            key = "started_at"
            started_at = self._moment([cells[place] for place in self._started_at])
            key = "seconds"
            seconds = self._seconds(cells[self._at_seconds])
            key = "billed_seconds"
            billed = None if self._at_billed is None else self._billed(cells[self._at_billed])
            key = "amount"
            amount = self.figure(cells[self._at_amount])
            currency = self._currency_of(cells, amount)
            key = "rate"
            rate = None
            if self._at_rate is not None and cells[self._at_rate].strip():
                rate = self.figure(cells[self._at_rate])
                self._currency_of(cells, rate)
            key = "reference"
            reference = None if self._at_reference is None else self._reference(cells[self._at_reference])
        except ValueError as error:
            raise LineError(f"{key}: {error}") from None
        caller = None if self._at_caller is None else self._caller(cells[self._at_caller])
        return ProviderLine(
            number, started_at, seconds, billed, amount.value, currency, rate and rate.value, caller, reference
        )

    def _check_width(self, cells: Sequence[str]) -> None:
        """A line that has lost or won a cell on the way would be read a column off."""
        places = self.places
        if len(cells) < places.needed:
            raise LineError(f"has {len(cells)} cells, and {places.needed} are needed")
        if places.width is not None and len(cells) > places.width and any(cells[places.width :]):
            raise LineError(f"has {len(cells)} cells, and the heading has {places.width}")

    def _currency_of(self, cells: Sequence[str], figure: Figure) -> str:
        currency = self._currency
        if currency is None:
            currency = cells[self._at_currency or 0].strip().upper()
        if currency not in MINOR_UNITS:
            raise ValueError(f"its currency must be one of ISO 4217 such as EUR, got {shown(currency)}")
        if figure.currency not in {None, currency}:
            raise ValueError(f"is in {figure.currency}, and the line in {currency}")
        return currency

    def _caller(self, cell: str) -> str | None:
        try:
            return self._number(cell)
        except ValueError:
            return cell.strip()[:REFERENCE_CHARACTERS] or None

    def _reference(self, cell: str) -> str | None:
        text = cell.strip()
        if len(text) > REFERENCE_CHARACTERS:
            raise ValueError(f"must be at most {REFERENCE_CHARACTERS} characters, got {len(text)}")
        return text or None


def totals_reader(mapping: Mapping, reader: LineReader) -> Callable[[Sequence[str]], Stated | None] | None:
    """What reads the line with the file's own totals; None: the mapping knows of none.

    Returns:
        A function of the line's cells: None when it is another line, else its totals by `lines`, `seconds`,
        `billed_seconds` and `amount`, those that the mapping names. It raises LineError.
    """
    totals = mapping.totals
    if totals is None:
        return None
    shows, begins = reader.places.of(totals.column), _folded(totals.begins)
    formats = mapping.formats
    readers: dict[str, Callable[[str], Figure | int]] = {
        "lines": duration_reader("seconds", reader.figure, most=MOST_IN_ALL),  # a whole number, and no more than that
        "seconds": duration_reader(formats.seconds, reader.figure, most=MOST_IN_ALL),
        "billed_seconds": duration_reader(formats.billed_seconds or formats.seconds, reader.figure, most=MOST_IN_ALL),
        "amount": reader.figure,
    }
    wanted = [(key, reader.places.of(column)) for key in readers if (column := getattr(totals, key)) is not None]

    def read(cells: Sequence[str]) -> Stated | None:
        if shows >= len(cells) or not _folded(cells[shows]).startswith(begins):
            return None
        found: Stated = {}
        for key, place in wanted:
            try:
                found[key] = readers[key](cells[place] if place < len(cells) else "")
            except ValueError as error:
                raise LineError(f"totals.{key}: {error}") from None
        return found

    return read


def _folded(text: str) -> str:
    return text.strip().casefold()
