"""The rows of stored files whose time is over: taken, and marked as deleted or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import exists, func, not_, select, text, update

from pipeline.database.narrowing import among, narrow, word
from pipeline.database.tables import calls, holds, recordings
from pipeline.recordings.rules.encrypted import KeyName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection


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


OF_A_HELD_NUMBER = exists().where(
    calls.c.id == recordings.c.call_id, calls.c.client_number == holds.c.number, holds.c.released_at.is_(None)
)

# SQL: it fills in what the hot path of older code left out, and reads the partial index of kept files alone.
_FILL_IN_DIALED_AT = text(
    "UPDATE recordings SET dialed_at = calls.dialed_at FROM calls "
    "WHERE state = 'stored' AND deleted_at IS NULL AND recordings.dialed_at IS NULL AND calls.id = call_id"
)


def take_expired(
    connection: Connection,
    *,
    older_than_days: int,
    limit: int,
    source: str | None = None,
    tried_before: datetime | None = None,
) -> list[KeptFile]:
    """Stored files past their retention and not held, locked until the end of the transaction.

    Args:
        connection: the caller's transaction.
        older_than_days: by when the calls were dialled.
        limit: the most to take.
        source: only this dialler's, for only its own workers have its store; None: all.
        tried_before: those that could not be deleted before then, longest ago first; None: those that were never tried,
            oldest call first.
    """
    # Rows that code older than the column stored. There are none of them soon, and then an index says so.
    connection.execute(_FILL_IN_DIALED_AT)
    of = recordings.c
    untried = tried_before is None
    tried = of.delete_tried_at.is_(None) if untried else of.delete_tried_at < tried_before
    rows = connection.execute(
        select(*KEPT)
        .where(
            of.state == word("stored"),
            of.deleted_at.is_(None),
            of.held_at.is_(None),
            not_(OF_A_HELD_NUMBER),
            of.dialed_at < func.now() - func.make_interval(0, 0, 0, older_than_days),
            tried,
            *narrow({"source": source}, {"source": lambda value: of.source == value}),
        )
        .order_by(of.dialed_at if untried else of.delete_tried_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [KeptFile(*row) for row in rows]


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
