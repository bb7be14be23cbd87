"""Calls as a file for a spreadsheet, page by page, so that a million of them take no more memory than a thousand."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from pipeline.lookup.found_calls import FoundCall
from pipeline.lookup.rules.csv_cells import csv_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from zoneinfo import ZoneInfo

    from pipeline.lookup.rules.csv_cells import Cell

COLUMNS: Final = FoundCall._fields[1:]
"""All but the key, which is nobody's business."""
MOST_LINES: Final = 1_000_000
"""What a spreadsheet takes."""


def heading() -> str:
    """The line of the columns' names."""
    [line] = csv_lines([COLUMNS])
    return line


def call_lines(calls: Iterable[FoundCall], zone: ZoneInfo) -> Iterator[str]:
    """A line a call, without the heading.

    Args:
        calls: which.
        zone: of the times in it.
    """
    return csv_lines([_cell(value, zone) for value in call[1:]] for call in calls)


def _cell(value: object, zone: ZoneInfo) -> Cell:
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(timespec="seconds")
    return value  # type: ignore[return-value]  # of the other types a call has
