"""The rows of stored files whose time is over: taken, and marked as deleted or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, Integer, and_, case, exists, func, literal, not_, select, text, tuple_, update

from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import calls, holds, recordings
from pipeline.recordings.rules.ages import shortest
from pipeline.recordings.rules.encrypted import KeyName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, FromClause

    from pipeline.database.narrowing import Conditions
    from pipeline.recordings.rules.ages import Age


class KeptFile(NamedTuple):
    """A stored recording and what identifies its bytes."""

    call_id: int
    source: str
    call_ref: str
    path: str
    size_bytes: int
    sha256: bytes
    key_month: str | None = None

    @property
    def key(self) -> KeyName | None:
        """By which it is encrypted; None: it is there as it came."""
        return None if self.key_month is None else KeyName(self.source, self.key_month)


KEPT = [recordings.c[name] for name in KeptFile._fields]
"""What to select for a `KeptFile`."""


def now(connection: Connection) -> datetime:
    """The database's clock."""
    return connection.scalars(select(func.now())).one()


class DueFile(NamedTuple):
    """A file whose time is over."""

    file: KeptFile
    dialed_at: datetime
    reason: str
    """What its row will say."""

    @property
    def place(self) -> tuple[datetime, int]:
        """Where it stands among the others."""
        return self.dialed_at, self.file.call_id


_of_held = calls.alias("of_held")
_HELD_NUMBERS = select(holds.c.number).where(holds.c.released_at.is_(None), holds.c.number.is_not(None))
_ITS_NUMBER = select(_of_held.c.client_number).where(_of_held.c.id == recordings.c.call_id).scalar_subquery()
# Its call is looked up, and only where any number is held: of a join all calls may be read, to find the numbers' own.
OF_A_HELD_NUMBER = and_(_HELD_NUMBERS.exists(), func.coalesce(_ITS_NUMBER, "").in_(_HELD_NUMBERS))
OF_A_HELD_CALL = exists().where(holds.c.call_id == recordings.c.call_id, holds.c.released_at.is_(None))

# SQL: it fills in what the hot path of older code left out, and reads the partial index of kept files alone.
_FILL_IN_DIALED_AT = text(
    "UPDATE recordings SET dialed_at = calls.dialed_at FROM calls "
    "WHERE state = 'stored' AND deleted_at IS NULL AND recordings.dialed_at IS NULL AND calls.id = call_id"
)


def take_expired(
    connection: Connection,
    ages: Sequence[Age],
    *,
    limit: int,
    source: str | None = None,
    tried_before: datetime | None = None,
    after: tuple[datetime, int] | None = None,
) -> list[DueFile]:
    """Stored files past their age and not held, locked until the end of the transaction.

    Args:
        connection: the caller's transaction.
        ages: by dialler and campaign; the first that fits a file counts.
        limit: the most to take.
        source: only this dialler's, for only its own workers have its store; None: all.
        tried_before: those that could not be deleted before then, longest ago first; None: those that were never tried,
            oldest call first.
        after: only those behind this `DueFile.place`, which is for those that were never tried. Old files that are kept
            longer than others are passed by once a run, and not once for each part of it.
    """
    # Rows that code older than the column stored. There are none of them soon, and then an index says so.
    connection.execute(_FILL_IN_DIALED_AT)
    of = recordings.c
    untried = tried_before is None
    conditions: Conditions = {
        "source": lambda value: of.source == value,
        "after": lambda place: and_(
            of.dialed_at >= place[0],
            tuple_(of.dialed_at, of.call_id) > tuple_(literal(place[0]), literal(place[1], BigInteger)),
        ),
    }
    rows = connection.execute(
        select(*KEPT, of.dialed_at, _nth_of(ages).label("nth"))
        .select_from(_recordings_of(ages))
        .where(
            *_due(ages),
            of.delete_tried_at.is_(None) if untried else of.delete_tried_at < tried_before,
            *narrow({"source": source, "after": after}, conditions),
        )
        .order_by(*(of.dialed_at, of.call_id) if untried else (of.delete_tried_at,))
        .limit(limit)
        .with_for_update(skip_locked=True, of=recordings)
    )
    return [DueFile(KeptFile(*file), dialed_at, ages[nth].reason) for *file, dialed_at, nth in rows]


def held_by_now(connection: Connection, call_ids: Sequence[int]) -> set[int]:
    """Those of some calls that are held, or whose number is, as of this moment.

    Whoever holds one waits for the lock of its recording. So what is locked and not held by now is not held before the
    lock is gone, though a statement that began before the hold was there has taken it.
    """
    by_call = select(holds.c.call_id).where(among(holds.c.call_id, call_ids), holds.c.released_at.is_(None))
    by_number = select(calls.c.id).where(
        among(calls.c.id, call_ids), calls.c.client_number == holds.c.number, holds.c.released_at.is_(None)
    )
    return set(connection.scalars(by_call.union(by_number)))


def count_due(connection: Connection, ages: Sequence[Age]) -> tuple[int, int]:
    """How many files are past their age and not held, of all diallers, and of how many bytes.

    Args:
        connection: the database.
        ages: as of `take_expired`.
    """
    size = func.coalesce(func.sum(recordings.c.size_bytes), 0)
    row = connection.execute(select(func.count(), size).select_from(_recordings_of(ages)).where(*_due(ages))).one()
    return row[0], int(row[1])


def _recordings_of(ages: Sequence[Age]) -> FromClause:
    """Recordings, with their calls where an age asks for the campaign; the call's row may have gone before."""
    if not any(each.campaign_ref for each in ages):
        return recordings
    return recordings.outerjoin(calls, calls.c.id == recordings.c.call_id)


def _due(ages: Sequence[Age]) -> list[ColumnElement[bool]]:
    """What is past its age; the first to go bounds how much of the index of kept files is read."""
    of = recordings.c
    return [
        of.state == word("stored"),
        of.deleted_at.is_(None),
        of.held_at.is_(None),
        not_(OF_A_HELD_NUMBER),
        not_(OF_A_HELD_CALL),
        of.dialed_at < _ago(literal(shortest(ages), Integer)),
        *([of.dialed_at < _ago(_first_fitting(ages, [each.days for each in ages]))] if len(ages) > 1 else []),
    ]


def _ago(days: ColumnElement[int]) -> ColumnElement[datetime]:
    """So many days ago; null of null, before which nothing is."""
    return func.now() - func.make_interval(0, 0, 0, days)


def _nth_of(ages: Sequence[Age]) -> ColumnElement[int]:
    return _first_fitting(ages, range(len(ages)))


def _first_fitting(ages: Sequence[Age], values: Sequence[int | None]) -> ColumnElement[int]:
    """The value of the first age that fits a recording; the last age fits all."""
    *some, last = [literal(value, Integer) for value in values]
    return case(*zip(map(_fits, ages[:-1]), some, strict=True), else_=last) if some else last


def _fits(age: Age) -> ColumnElement[bool]:
    wanted = {"source": age.source or None, "campaign": age.campaign_ref or None}
    return and_(*narrow(wanted, {"source": lambda s: recordings.c.source == s, "campaign": _of_campaign}))


def _of_campaign(campaign_ref: str) -> ColumnElement[bool]:
    return calls.c.campaign_ref == campaign_ref


def mark_deleted(connection: Connection, call_ids: Sequence[int], *, reason: str) -> None:
    """Write down that files are gone."""
    connection.execute(
        update(recordings)
        .values(
            deleted_at=func.clock_timestamp(),
            deleted_reason=reason,
            key_month=None,
            verify_problem=None,
            delete_tried_at=None,
            delete_problem=None,
        )
        .where(among(recordings.c.call_id, call_ids))
    )


# SQL: thousands of rows in one statement of two parameters.
_MARK_UNDELETED = text(
    "UPDATE recordings SET delete_tried_at = clock_timestamp(), delete_problem = problem "
    "FROM unnest(cast(:ids AS bigint[]), cast(:problems AS text[])) AS tried (call_id, problem) "
    "WHERE recordings.call_id = tried.call_id"
)


def mark_undeleted(connection: Connection, problems: Sequence[tuple[int, str]]) -> None:
    """Write down which files could not be deleted, and why."""
    connection.execute(
        _MARK_UNDELETED,
        {"ids": [call_id for call_id, _ in problems], "problems": [problem for _, problem in problems]},
    )
