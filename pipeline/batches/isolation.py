"""Finding the record a statement or a rule stumbles over, so that the rest of its batch goes on."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from pipeline.batches.rules.failure import Failure
from pipeline.database.engine import is_outage
from pipeline.errors import AwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

T = TypeVar("T")

REFUSALS = (DataError, IntegrityError, ProgrammingError)
"""What the database says to a value it will not take; anything else is not a record's fault."""


def may_be_a_records(error: Exception) -> bool:
    """Whether a record can be to blame for an error: not for the database's troubles, nor for want of time or memory.

    >>> may_be_a_records(KeyError("a bug")), may_be_a_records(MemoryError()), may_be_a_records(OSError("no space"))
    (True, False, False)
    """
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, DataError | IntegrityError) and not is_outage(error)
    if type(error).__name__ == "SoftTimeLimitExceeded":  # Celery's: steps do not know it
        return False
    return not isinstance(error, OSError | MemoryError | AwayError)


def bug(record_id: int, error: Exception) -> Failure:
    """A failure nobody foresaw, with the traceback whoever mends it will need."""
    return Failure(
        record_id,
        "bug",
        f"{type(error).__name__}: {error}"[:2_000],
        error_type=type(error).__name__,
        traceback="".join(traceback.format_exception(error))[-20_000:],
    )


def write_isolated(
    connection: Connection,
    rows: Sequence[T],
    write: Callable[[Sequence[T]], None],
    record_id: Callable[[T], int],
) -> list[Failure]:
    """Write rows in one statement; where the database refuses, halve until the refused records are alone.

    Args:
        connection: the step's transaction; each try runs in a savepoint.
        rows: what to write.
        write: writes the rows given to it, all or none.
        record_id: the record a row belongs to.

    Returns:
        One failure for each record refused; all other rows are written.
    """
    if not rows:
        return []
    try:
        with connection.begin_nested():
            write(rows)
    except REFUSALS as error:
        if is_outage(error):
            raise
        if len(rows) == 1:
            return [bug(record_id(rows[0]), error)]
        middle = len(rows) // 2
        return [
            *write_isolated(connection, rows[:middle], write, record_id),
            *write_isolated(connection, rows[middle:], write, record_id),
        ]
    return []
