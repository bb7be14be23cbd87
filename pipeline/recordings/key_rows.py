"""What the rows of ``recordings`` say of keys: which files are encrypted with which, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import BigInteger, and_, cast, func, or_, select, text, update

from pipeline.database.narrowing import among
from pipeline.database.tables import recordings
from pipeline.recordings.retention_rows import KEPT, OF_A_HELD_CALL, OF_A_HELD_NUMBER, KeptFile
from pipeline.recordings.rows import WAITING
from pipeline.recordings.rules.encrypted import begin_of, end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

    from pipeline.recordings.rules.encrypted import KeyName

_OF: Final = recordings.c
_NAMED: Final = 5
_KEPT_FILE: Final = and_(_OF.state == "stored", _OF.deleted_at.is_(None))
_BYTES: Final = cast(func.coalesce(func.sum(_OF.size_bytes).filter(_OF.deleted_at.is_(None)), 0), BigInteger)


class OfAMonth(NamedTuple):
    """A dialler's files that are encrypted with the key of a month."""

    month: str
    files: int
    size_bytes: int
    """Of the recordings in them."""
    left: int
    """Files of a key that was destroyed which are not deleted yet; not among the others."""


class Held(NamedTuple):
    """Recordings that must be kept."""

    recordings: int
    call_refs: list[str]
    """Of some of them."""


def _of_the_key(name: KeyName) -> ColumnElement[bool]:
    return and_(_OF.source == name.source, _OF.key_month == name.month)


def by_month(connection: Connection, source: str) -> list[OfAMonth]:
    """A dialler's encrypted files, by the month of their key."""
    rows = connection.execute(
        select(
            _OF.key_month,
            func.count().filter(_OF.deleted_at.is_(None)),
            _BYTES,
            func.count().filter(_OF.deleted_at.is_not(None)),
        )
        .where(_OF.source == source, _OF.key_month.is_not(None))
        .group_by(_OF.key_month)
        .order_by(_OF.key_month)
    )
    return [OfAMonth(*row) for row in rows]


def newest_month(connection: Connection, source: str) -> str | None:
    """The newest month by whose key a kept file of a dialler is encrypted; None: none is."""
    month: str | None = connection.scalar(
        select(_OF.key_month)
        .where(_OF.source == source, _OF.key_month.is_not(None), _OF.deleted_at.is_(None))
        .order_by(_OF.key_month.desc())
        .limit(1)
    )
    return month


def held_of(connection: Connection, name: KeyName) -> Held | None:
    """The files of a key that are under hold, themselves or by their call or number; None: none is."""
    held = and_(_of_the_key(name), or_(_OF.held_at.is_not(None), OF_A_HELD_NUMBER, OF_A_HELD_CALL), _KEPT_FILE)
    many = connection.scalars(select(func.count()).select_from(recordings).where(held)).one()
    if not many:
        return None
    return Held(many, list(connection.scalars(select(_OF.call_ref).where(held).order_by(_OF.call_id).limit(_NAMED))))


def waiting_of(connection: Connection, name: KeyName) -> tuple[int, int]:
    """How many recordings of a key's month wait to be fetched, and how many are just being downloaded."""
    begins, ends = begin_of(name.month), end_of(name.month)
    row = connection.execute(
        select(
            func.count(), func.count().filter(_OF.state == "downloading", _OF.due_at > func.clock_timestamp())
        ).where(text(WAITING), _OF.source == name.source, _OF.dialed_at >= begins, _OF.dialed_at < ends)
    ).one()
    return row[0], row[1]


def mark_unreadable(connection: Connection, name: KeyName, *, reason: str) -> int:
    """The files of a key that are not under hold count as deleted from now on; returns how many did not before."""
    result = connection.execute(
        update(recordings)
        .values(
            deleted_at=func.clock_timestamp(),
            deleted_reason=reason,
            verify_problem=None,
            delete_tried_at=None,
            delete_problem=None,
        )
        .where(_of_the_key(name), _KEPT_FILE, _OF.held_at.is_(None))
    )
    return int(result.rowcount)


def take_left(connection: Connection, source: str, months: Sequence[str], *, limit: int) -> list[KeptFile]:
    """Files whose key was destroyed and that are there yet, locked until the end of the transaction."""
    rows = connection.execute(
        select(*KEPT)
        .where(_OF.source == source, among(_OF.key_month, months), _OF.deleted_at.is_not(None))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [KeptFile(*row) for row in rows]


def mark_gone(connection: Connection, call_ids: Sequence[int]) -> None:
    """The files of a destroyed key are deleted, too."""
    connection.execute(update(recordings).values(key_month=None).where(among(_OF.call_id, call_ids)))
