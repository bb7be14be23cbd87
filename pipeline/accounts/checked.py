"""What a provider's file comes to, and whether it may be loaded: decided when all of it was read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.accounts.rules.entries import FileRefusedError, Totals

if TYPE_CHECKING:
    from pipeline.accounts.file_rows import ListedFile
    from pipeline.accounts.provider_file import Opened
    from pipeline.accounts.rules.entries import Entry, Sums
    from pipeline.accounts.rules.mapping import Mapping

BAD_LINES_SHOWN: Final = 20


class Wanted(NamedTuple):
    """What is loaded, and how."""

    provider: str
    mapping: Mapping
    zone: str
    """Of the file's times and of its month."""
    region: str
    """Of numbers written as dialled."""
    month: str | None = None
    """What it is of, such as 2026-11."""
    stated: Totals = Totals()
    """What whoever loads it says that it comes to; it goes before what the file says."""
    most_bad: int | None = None
    """Nothing is loaded where more lines than these cannot be read; None: any number may be unread."""
    despite_totals: bool = False
    """Whether it is loaded though the totals differ."""


class BadLine(NamedTuple):
    """A line that could not be read."""

    line: int
    reason: str
    raw: str


class Loaded(NamedTuple):
    """What loading a file came to."""

    file_id: int | None
    """None: nothing was loaded."""
    already: ListedFile | None
    """The file, where it had been loaded before."""
    mapping_version: int | None
    since: datetime | None
    until: datetime | None
    sums: Sums | None
    outside: int
    """Calls outside of the month that the file is said to be of."""
    stated: Totals
    differences: list[str]
    """Between what is stated and what the lines come to."""
    bad_lines: list[BadLine]
    """The first of them."""
    overlapping: list[int] = []  # noqa: RUF012 - never changed
    """Other files of the provider whose time overlaps; none of these calls is in them, unless it was not loaded."""

    @property
    def span(self) -> tuple[datetime, datetime]:
        """What it is of: the month that was said, else from its first call to its last; half-open, in UTC."""
        assert self.sums is not None
        assert self.sums.first_at is not None
        assert self.sums.last_at is not None
        return self.since or self.sums.first_at, self.until or self.sums.last_at + timedelta(microseconds=1)

    @property
    def is_well(self) -> bool:
        """Whether nothing is left for a person to look at."""
        return not (self.differences or self.bad_lines)


class Seen:
    """What is kept of a reading while its lines pass."""

    def __init__(self, since: datetime | None, until: datetime | None) -> None:
        self.since, self.until = since, until
        self.outside = 0
        self.bad_lines: list[BadLine] = []

    def see(self, entry: Entry) -> None:
        """Look at a line."""
        if entry.call is not None:
            if self.since is not None and self.until is not None:
                self.outside += not self.since <= entry.call.started_at < self.until
        elif entry.bad is not None and len(self.bad_lines) < BAD_LINES_SHOWN:
            self.bad_lines.append(BadLine(entry.line, entry.bad, entry.raw))


def checked(wanted: Wanted, opened: Opened, seen: Seen, sha256: str) -> Loaded:
    """What a file comes to, as if nothing had been loaded of it.

    Args:
        wanted: what it is.
        opened: its reading, at its end.
        seen: what was kept of that.
        sha256: of the file, before it was read.

    Raises:
        FileRefusedError: it is none that could be loaded.
    """
    sums, of_file = opened.entries.sums, opened.entries.stated()
    stated = Totals(
        **{
            name: value if (said := getattr(wanted.stated, name)) is None else said
            for name, value in of_file._asdict().items()
        }
    )
    if opened.sha256() != sha256:
        raise FileRefusedError(
            "the file changed while it was being read: it is still being written; nothing was loaded"
        )
    _refuse_unusable(wanted, sums, seen)
    return Loaded(
        file_id=None,
        already=None,
        mapping_version=None,
        since=seen.since,
        until=seen.until,
        sums=sums,
        outside=seen.outside,
        stated=stated,
        differences=sums.differences(stated),
        bad_lines=seen.bad_lines,
    )


def _refuse_unusable(wanted: Wanted, sums: Sums, seen: Seen) -> None:
    if not sums.lines:
        raise FileRefusedError("the file has no lines of calls; nothing was loaded")
    first = f"line {seen.bad_lines[0].line}: {seen.bad_lines[0].reason}" if seen.bad_lines else ""
    if not sums.read:
        raise FileRefusedError(f"none of {sums.lines:,} lines can be read, so the mapping is of another file; {first}")
    if wanted.most_bad is not None and sums.bad > wanted.most_bad:
        raise FileRefusedError(
            f"{sums.bad:,} of {sums.lines:,} lines cannot be read, more than {wanted.most_bad:,}; nothing was loaded; "
            f"{first}"
        )
    if seen.outside == sums.read:
        raise FileRefusedError(
            f"none of its calls is in {wanted.month}: the first began at {_told(sums.first_at)}, the last at "
            f"{_told(sums.last_at)}; nothing was loaded"
        )


def _told(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at is not None else ""
