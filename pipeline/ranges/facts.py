"""What is found of a range before it is dropped: its rows are counted, its archive is read back."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.archive.month import manifest_of
from pipeline.archive.rules.places import Place
from pipeline.archive.rules.refused import ArchiveError
from pipeline.archive.state import state_of
from pipeline.archive.verify import verify_month
from pipeline.balance.sheet import balance_sheet
from pipeline.batches.progress import OWING
from pipeline.database.engine import reading
from pipeline.database.ranges import all_ranges
from pipeline.keeping.held_where import held_in
from pipeline.keeping.spans import span_policies
from pipeline.ranges.rules.against import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from sqlalchemy import Connection, Engine

    from pipeline.archive.store import ArchiveStore
    from pipeline.balance.sheet import Balance
    from pipeline.database.ranges import Range

    Progress = Callable[[str], None]
    """Told what is being looked at."""


class Found(NamedTuple):
    """A range, looked at."""

    facts: Facts
    sheet: Balance
    """What its records come to."""


def look(engine: Engine, store: ArchiveStore | None, one: Range, *, progress: Progress = lambda _what: None) -> Found:
    """Look at a range that may be dropped.

    Args:
        engine: the database.
        store: the archive; None: there is none.
        one: the range.
        progress: told what is looked at.

    Raises:
        ArchiveAwayError: the archive does not answer.
    """
    progress("counting")
    with engine.connect() as connection:
        sheet = balance_sheet(connection, records=one.records)
    with reading(engine) as connection:
        counts = {name: int(connection.scalar(query, one.bounds) or 0) for name, query in _COUNTS.items()}
        earlier = [
            each.name for each in all_ranges(connection) if each.end_record <= one.first_record and each.is_there
        ]
        days = _days(connection, one)
        held = held_in(connection, *one.records).calls
        kept = list(_kept(connection, one))
    progress("reading the archive back")
    not_archived, unbelievable = _archived(engine, store, days)
    facts = Facts(
        is_filling=bool(counts.pop("is_filling")),
        earlier=tuple(earlier),
        not_archived=tuple(not_archived),
        unbelievable=tuple(unbelievable),
        violations=tuple(f"{each.rule} ({each.count:,})" for each in sheet.violations),
        held=held,
        kept=tuple(kept),
        **counts,
    )
    return Found(facts, sheet)


# SQL: counts by key range, each a sentence of `against`.
_COUNTS: Final = {
    "is_filling": text("SELECT last_value <= cast(:last AS bigint) >> 16 FROM batches_id_seq"),
    "unfinished": text(
        "SELECT count(*) FROM batches WHERE id BETWEEN cast(:first AS bigint) >> 16 AND cast(:last AS bigint) >> 16 "
        f"AND (finished_at IS NULL OR ({OWING}))"
    ),
    "waiting": text(
        "SELECT count(*) FROM failures WHERE state IN ('open', 'retrying') AND record_id BETWEEN :first AND :last"
    ),
    "recordings_waiting": text(
        "SELECT count(*) FROM recordings WHERE state IN ('scheduled', 'downloading') "
        "AND call_id BETWEEN :first AND :last"
    ),
    "recordings_kept": text(
        "SELECT count(*) FROM recordings WHERE state = 'stored' AND deleted_at IS NULL "
        "AND call_id BETWEEN :first AND :last"
    ),
    "in_the_feed": text(
        "SELECT count(*) FROM feed WHERE call_id BETWEEN :first AND :last "
        "OR batch_id BETWEEN cast(:first AS bigint) >> 16 AND cast(:last AS bigint) >> 16"
    ),
}


def _kept(connection: Connection, one: Range) -> Iterator[str]:
    """The minima that are not over for something of it."""
    now = connection.scalars(text("SELECT now()")).one()
    for kind, found in span_policies(connection, *one.records).items():
        if found.kept is not None and found.kept.until > now:
            yield f"{found.kept.says(kind)}: some until {found.kept.until:%Y-%m-%d %H:%M} UTC (`pipeline keeping show`)"


class Day(NamedTuple):
    """A day of a dialler of which a range has calls."""

    source: str
    day: date

    @property
    def place(self) -> Place:
        """Its month in the archive."""
        return Place(self.source, f"{self.day:%Y-%m}")

    def __str__(self) -> str:
        return f"{self.day} of {self.source}"


def _days(connection: Connection, one: Range) -> list[Day]:
    query = text(
        "SELECT DISTINCT source, (dialed_at AT TIME ZONE 'UTC')::date AS day FROM calls "
        "WHERE id BETWEEN :first AND :last ORDER BY 1, 2"
    )
    return [Day(*row) for row in connection.execute(query, one.bounds)]


def _archived(engine: Engine, store: ArchiveStore | None, days: list[Day]) -> tuple[list[str], list[str]]:
    """The days that are not archived as they are, and what cannot be believed of the months they are in."""
    if store is None:
        return [str(each) for each in days], []
    months = {place: list(of_month) for place, of_month in groupby(days, key=lambda day: day.place)}
    with engine.connect() as connection:
        missing = [str(day) for place in months for day in _unlike(connection, store, place, months[place])]
    if missing:
        return missing, []
    wrong = []
    for place, of_month in months.items():
        verified = verify_month(engine, store, place, days={day.day for day in of_month})
        wrong += [f"{place.said}: {each}" for each in verified.problems]
    return [], wrong


def _unlike(connection: Connection, store: ArchiveStore, place: Place, of_month: list[Day]) -> Iterator[Day]:
    try:
        manifest = manifest_of(connection, store, place)
    except ArchiveError:
        yield from of_month
        return
    for day in of_month:
        part = manifest.part_of(day.day)
        if part is None or part.state != state_of(connection, day.source, day.day).text:
            yield day
