"""A part of the feed: the rows that are looked at, the records of them, and what comes of these for a subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.event import LAST_PLACE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pipeline.feed.rules.event import Event
    from pipeline.feed.rules.filter import Filter


class Row(NamedTuple):
    """One row of the feed that has a position."""

    position: int
    kind: str
    source: str
    batch_id: int | None
    call_id: int | None
    revision: int
    left_out: frozenset[int] | None
    named: frozenset[int] | None
    at: datetime
    records: int
    """How many places it has."""


class Span(NamedTuple):
    """Some records of one row."""

    row: Row
    first: int
    last: int

    def holds(self, record_id: int) -> bool:
        """Whether the row is about this record of its span."""
        if self.row.named is not None:
            return record_id in self.row.named
        return self.row.left_out is None or record_id not in self.row.left_out


class Part(NamedTuple):
    """What comes next for a subscriber."""

    events: list[Event]
    passed: list[Cursor]
    """The events that are not let through, in their order."""
    behind: Cursor
    """Where the cursor is when these were taken."""
    hole: tuple[int, int] | None = None
    """The positions that are gone; then there is nothing else."""
    is_last: bool = False
    """Whether nothing stood behind it."""

    def first(self, most: int) -> Part:
        """The part as if it had ended behind so many of its events."""
        if len(self.events) <= most:
            return self
        events, following = self.events[:most], self.events[most]
        # A row of which nothing follows was gone through as a whole.
        whole = following.position > events[-1].position
        behind = Cursor(events[-1].position, LAST_PLACE if whole else events[-1].place)
        return Part(events, [each for each in self.passed if each <= behind], behind)


class Wanted(NamedTuple):
    """What somebody gets, and how."""

    filter: Filter
    shape: str
    fields: Sequence[str] | None = None
    since: datetime | None = None
    """Only what happened then or later."""
    until: datetime | None = None
    """Only what happened before."""
    last: Cursor | None = None
    """Nothing behind it; None: whatever there is."""

    def lets_row(self, row: Row) -> bool:
        """Whether any event of this row can be let through."""
        if (self.since is not None and row.at < self.since) or (self.until is not None and row.at >= self.until):
            return False
        return self.filter.lets_row(row.kind, row.source)
