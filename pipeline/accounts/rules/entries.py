"""A whole file, row by row: what is a call, what is left out, what cannot be read and why, and what all comes to."""

from __future__ import annotations

from collections import defaultdict
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.accounts.rules.lines import LineError, LineReader, Places, ProviderLine, totals_reader
from pipeline.errors import PipelineError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from pipeline.accounts.rules.figures import Figure
    from pipeline.accounts.rules.lines import Stated
    from pipeline.accounts.rules.mapping import Mapping
    from pipeline.accounts.rules.rows import Row

_EXACT: Final = Context(prec=100)
"""Sums of any file lose no digit."""


class FileRefusedError(PipelineError):
    """A file is not loaded, and nothing of it was; the text says why."""


class Entry(NamedTuple):
    """A row of a file, and what it is: one of the last three is set."""

    line: int
    """Where it begins, from 1."""
    raw: str
    """As it came; what no database keeps is shown as an escape."""
    call: ProviderLine | None
    bad: str | None
    """Why it cannot be read."""
    left_out: str | None
    """Why it is no call."""


class Sums:
    """What the calls of a file come to."""

    def __init__(self) -> None:
        self.lines = 0
        """All that should be calls, those that cannot be read among them."""
        self.read = 0
        self.bad = 0
        self.left_out = 0
        self.seconds = 0
        self.billed_seconds = 0
        self.money: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None

    def add(self, call: ProviderLine) -> None:
        """Count a call."""
        self.read += 1
        self.seconds += call.seconds
        self.billed_seconds += call.billed_seconds or 0
        self.money[call.currency] = _EXACT.add(self.money[call.currency], call.amount)
        if self.first_at is None or call.started_at < self.first_at:
            self.first_at = call.started_at
        if self.last_at is None or call.started_at > self.last_at:
            self.last_at = call.started_at

    def differences(self, stated: Totals) -> list[str]:
        """Where somebody's totals are others than these; a sentence each, and what the difference is."""
        found = []
        for name, theirs, ours in (
            ("lines", stated.lines, self.lines),
            ("seconds", stated.seconds, self.seconds),
            ("billed seconds", stated.billed_seconds, self.billed_seconds),
        ):
            if theirs is not None and theirs != ours:
                found.append(f"{name}: {theirs:,} are stated, the lines come to {ours:,}, {ours - theirs:+,}")
        for currency, amount in (stated.money or {}).items():
            ours_of_it = self.money.get(currency, Decimal())
            if amount != ours_of_it:
                difference = _EXACT.subtract(ours_of_it, amount)
                found.append(
                    f"amount: {currency} {amount:,f} is stated, the lines come to {currency} {ours_of_it:,f}, "
                    f"{difference:+,f}"
                )
        if stated.money:
            found += [
                f"amount: nothing is stated in {currency}, the lines come to {currency} {amount:,f}"
                for currency, amount in sorted(self.money.items())
                if currency not in stated.money and amount
            ]
        return found


class Totals(NamedTuple):
    """What somebody says that a file comes to."""

    lines: int | None = None
    seconds: int | None = None
    billed_seconds: int | None = None
    money: dict[str, Decimal] | None = None
    """By currency."""

    def as_json(self) -> dict[str, object] | None:
        """What is stated; None when nothing is."""
        found: dict[str, object] = {name: value for name, value in self._asdict().items() if value is not None}
        if self.money is not None:
            found["money"] = {currency: f"{amount:f}" for currency, amount in self.money.items()}
        return found or None


class Reading:
    """The reading of one file; an iterator over its entries, once.

    Args:
        rows: of the file.
        mapping: how it is read.
        zone: of its times.
        region: of numbers written as dialled.
        encoding: what its text was decoded by, for what is said of a row that is none.
    """

    def __init__(self, rows: Iterable[Row], mapping: Mapping, *, zone: str, region: str, encoding: str) -> None:
        self._rows = rows
        self._mapping = mapping
        self._zone, self._region, self._encoding = zone, region, encoding
        self._totals_line: int | None = None
        self._stated: Stated = {}
        self.sums = Sums()

    def __iter__(self) -> Iterator[Entry]:
        """Each entry.

        Raises:
            MappingError: a column of the mapping is not in the file.
            FileRefusedError: two lines have the file's totals, or one that cannot be read.
        """
        rows = iter(self._rows)
        reader = (
            None if self._mapping.file.heading else LineReader(self._mapping, Places(self._mapping, None), *self._of)
        )
        totals = None if reader is None else totals_reader(self._mapping, reader)
        for row in rows:
            raw, fault = storable(row.raw, self._encoding)
            fault = fault or row.fault
            if row.line <= self._mapping.file.lines_before:
                yield self._left_out(row.line, raw, "before the heading" if reader is None else "before the first call")
            elif not any(map(str.strip, row.cells)) and fault is None:
                yield self._left_out(row.line, raw, "empty")
            elif reader is None:
                if fault:
                    raise FileRefusedError(f"line {row.line}, which should name the columns, {fault}")
                reader = LineReader(self._mapping, Places(self._mapping, row.cells), *self._of)
                totals = totals_reader(self._mapping, reader)
                yield self._left_out(row.line, raw, "the heading")
            elif fault:
                yield self._bad(row.line, raw, fault)
            elif totals is not None and self._has_totals(totals, row):
                yield self._left_out(row.line, raw, "the totals")
            else:
                yield self._entry(reader, row, raw)

    @property
    def _of(self) -> tuple[str, str]:
        return self._zone, self._region

    def stated(self) -> Totals:
        """The file's own totals; those that it does not say are None. To be asked at its end.

        Raises:
            FileRefusedError: the mapping knows of a line with totals, and the file has none.
        """
        if self._mapping.totals is not None and self._totals_line is None:
            raise FileRefusedError(
                f"no line begins with {shown(self._mapping.totals.begins)} in the column totals.column: "
                "the file is cut off, or its mapping is another"
            )
        amount = self._stated.get("amount")
        whole = {key: value for key, value in self._stated.items() if isinstance(value, int)}
        money = None if amount is None or isinstance(amount, int) else {self._currency_of(amount): amount.value}
        return Totals(**whole, money=money)

    def _currency_of(self, amount: Figure) -> str:
        """That of the file's total, where the file is not in several."""
        of_file = set(self.sums.money) or {self._mapping.constants.currency or ""}
        if amount.currency is not None:
            return amount.currency
        if len(of_file) > 1:
            raise FileRefusedError(
                f"its total has no currency, and its lines are in {', '.join(sorted(of_file))}: take totals.amount out"
            )
        return of_file.pop()

    def _has_totals(self, read: Callable[[Sequence[str]], Stated | None], row: Row) -> bool:
        try:
            found = read(row.cells)
        except LineError as error:
            raise FileRefusedError(f"line {row.line}: {error}") from None
        if found is None:
            return False
        if self._totals_line is not None:
            raise FileRefusedError(f"lines {self._totals_line} and {row.line} both have the totals")
        self._totals_line, self._stated = row.line, found
        return True

    def _entry(self, reader: LineReader, row: Row, raw: str) -> Entry:
        if reader.is_skipped(row.cells):
            return self._left_out(row.line, raw, "skipped by the mapping")
        try:
            call = reader.read(row.cells)
        except LineError as error:
            return self._bad(row.line, raw, str(error))
        self.sums.lines += 1
        self.sums.add(call)
        return Entry(row.line, raw, call, None, None)

    def _bad(self, line: int, raw: str, reason: str) -> Entry:
        self.sums.lines += 1
        self.sums.bad += 1
        return Entry(line, raw, None, reason, None)

    def _left_out(self, line: int, raw: str, why: str) -> Entry:
        self.sums.left_out += 1
        return Entry(line, raw, None, None, why)


def storable(raw: str, encoding: str) -> tuple[str, str | None]:
    r"""A text as a database can keep it, and what is wrong with it, if anything.

    >>> storable("M\udcfcller", "utf-8")
    ('M\\xfcller', 'is not utf-8 (byte 0xFC): say the encoding of the file in file.encoding')
    >>> storable("a\0b", "utf-8")
    ('a\\x00b', 'has a NUL byte in it')
    """
    if raw.isascii():
        return (raw.replace("\0", r"\x00"), "has a NUL byte in it") if "\0" in raw else (raw, None)
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        byte = ord(raw[error.start]) & 0xFF
        shown_raw = raw.replace("\0", r"\x00").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return shown_raw, f"is not {encoding} (byte 0x{byte:02X}): say the encoding of the file in file.encoding"
    return (raw.replace("\0", r"\x00"), "has a NUL byte in it") if "\0" in raw else (raw, None)
