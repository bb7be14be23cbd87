"""The marks of numbers that were erased, outside the database too: by them a copy from before is put right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from pipeline.calls.rules.spellings import numbers_in
from pipeline.database.engine import is_lock_timeout, wait_for_locks
from pipeline.database.tables import calls, erased_numbers, failures, inbox, metadata
from pipeline.erasure.rules.marks_file import Mark
from pipeline.erasure.rules.places import DROPPED, SWEPT
from pipeline.errors import AwayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from pipeline.calls.rules.erasure_key import ErasureKey

ROWS_AT_ONCE: Final = 5_000
LOCK_SECONDS: Final = 10.0
"""How long reading steps are waited for; meanwhile new ones wait behind."""


class InUseError(AwayError):
    """The table of marks cannot be had for a moment."""


def all_marks(connection: Connection) -> list[Mark]:
    """Every mark, the oldest first."""
    of = erased_numbers.c
    found = connection.execute(select(of.mark, of.key_id, of.erased_at).order_by(of.erased_at, of.mark))
    return [Mark(bytes(row.mark), row.key_id, row.erased_at.isoformat()) for row in found]


def key_of_marks(connection: Connection) -> str | None:
    """The id of the key that all numbers were erased with; None: none was."""
    return connection.scalar(select(erased_numbers.c.key_id).limit(1))


def lock_marks(connection: Connection) -> None:
    """Wait for all steps that have read records, and have new ones wait until this transaction has ended.

    Raises:
        InUseError: somebody reads for longer.
    """
    wait_for_locks(connection, LOCK_SECONDS)
    try:
        connection.execute(text("LOCK TABLE erased_numbers IN ACCESS EXCLUSIVE MODE"))
    except DBAPIError as error:
        if not is_lock_timeout(error):
            raise
        raise InUseError(
            f"somebody reads the marks for longer than {LOCK_SECONDS:g} s, most likely a backup: nothing was begun, "
            "run it again when that is done"
        ) from None


def load(connection: Connection, marks: Iterable[Mark], key: ErasureKey) -> int:
    """Enter marks that are not there, in a transaction of its own; returns how many.

    Raises:
        ErasureKeyError: they were made with another key.
    """
    lock_marks(connection)
    added = 0
    for each in marks:
        key.check(each.key_id)
        row = insert(erased_numbers).values(mark=each.mark, key_id=each.key_id, erased_at=each.erased_at)
        once = row.on_conflict_do_nothing().returning(erased_numbers.c.key_id)
        added += connection.scalar(once) is not None
    return added


def marked_numbers(connection: Connection, key: ErasureKey, region: str) -> list[str]:
    """The numbers in the database that were erased once: every call is looked at, and all that may quote a number.

    Args:
        connection: the database.
        key: of the marks.
        region: where national numbers belong.
    """
    marks = {each.mark for each in all_marks(connection)}
    numbers = set[str]()
    for some in _texts(connection):
        for number in {found for value in some for found in numbers_in(value, region)} - numbers:
            if key.mark(number) in marks:
                numbers.add(number)
    return sorted(numbers)


def _texts(connection: Connection) -> Iterator[list[str]]:
    """All texts that may hold a number, some at a time."""
    of = calls.c
    yield from _scalars(connection, select(of.client_number).where(of.client_number_is_e164).distinct())
    yield from _scalars(connection, select(inbox.c.raw).where(inbox.c.record_id.in_(_REFUSED)))
    for name in (*SWEPT, *DROPPED, "edits", "conflicts", "revisions"):
        columns = SWEPT.get(name) or ((DROPPED[name],) if name in DROPPED else _WHOLE[name])
        for column in columns:
            yield from _scalars(connection, select(metadata.tables[name].columns[column]))


_REFUSED: Final = select(failures.c.record_id).where(failures.c.step == "normalize")
_WHOLE: Final = {"edits": ("raw",), "conflicts": ("content",), "revisions": ("replaced",)}


def _scalars(connection: Connection, query: Any) -> Iterator[list[str]]:
    for some in connection.execution_options(yield_per=ROWS_AT_ONCE).scalars(query).partitions():
        yield [_text(each) for each in some if each is not None]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(value, default=str)
