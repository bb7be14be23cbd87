"""Where a month of a dialler stands in the archive, and what its files are called.

The folders are Hive's: whoever reads them finds ``source`` and ``month`` as columns. A month is one of UTC, and so are
its days: what is archived does not depend on a setting that may change.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote

from pipeline.billing.rules.months import month_in

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST: Final = "manifest.json"
_PART: Final = re.compile(r"part-([1-9][0-9]{0,8})\.parquet", re.ASCII)
_FOLDER: Final = re.compile(r"source=([^/]+)/month=([0-9]{4}-[0-9]{2})", re.ASCII)


class Span(NamedTuple):
    """From an instant up to before another."""

    since: datetime
    until: datetime


class Place(NamedTuple):
    """A month of a dialler."""

    source: str
    month: str
    """Such as 2026-10."""

    @property
    def folder(self) -> str:
        """Below the archive's URL.

        >>> Place("enigma", "2026-10").folder, Place("a/b", "2026-10").folder
        ('source=enigma/month=2026-10', 'source=a%2Fb/month=2026-10')
        """
        return f"source={quote(self.source, safe='')}/month={self.month}"

    @property
    def days(self) -> tuple[date, ...]:
        """Its days."""
        return month_in(self.month, "UTC").days

    @property
    def span(self) -> Span:
        """All of it."""
        days = month_in(self.month, "UTC")
        return Span(days.since, days.until)

    @property
    def until(self) -> datetime:
        """The first instant after it."""
        return self.span.until

    @property
    def said(self) -> str:
        """As a sentence calls it."""
        return f"{self.month} of {self.source}"


def month_of(text: str) -> str:
    """A month as somebody types it.

    >>> month_of(" 2026-10 ")
    '2026-10'

    Raises:
        DataError: it is none.
    """
    return f"{month_in(text, 'UTC').days[0]:%Y-%m}"


def place_of(folder: str) -> Place | None:
    """Which month a folder is of; None: of none.

    >>> place_of("source=a%2Fb/month=2026-10")
    Place(source='a/b', month='2026-10')
    """
    found = _FOLDER.fullmatch(folder)
    return None if found is None else Place(unquote(found[1]), found[2])


def span_of(day: date) -> Span:
    """A day of UTC.

    >>> span_of(date(2026, 10, 1)).until.isoformat()
    '2026-10-02T00:00:00+00:00'
    """
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Span(since, since + timedelta(days=1))


def part_name(number: int) -> str:
    """What the part of a number is called."""
    return f"part-{number}.parquet"


def part_number(name: str) -> int | None:
    """The number in a part's name; None: it is no part's.

    >>> part_number("part-12.parquet"), part_number("../part-1.parquet"), part_number("part-01.parquet")
    (12, None, None)
    """
    found = _PART.fullmatch(name)
    return None if found is None else int(found[1])


def next_number(names: Iterable[str]) -> int:
    """The number of the next part: above all there are, so that no name comes twice.

    >>> next_number(["part-2.parquet", "manifest.json", "part-10.parquet"]), next_number([])
    (11, 1)
    """
    return 1 + max((part_number(name) or 0 for name in names), default=0)
