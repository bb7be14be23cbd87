"""Records whose call is stored with other content: which call that is, and taking the record for the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Conflict(NamedTuple):
    """An open failure of a record that says something else of a call than what is stored."""

    record_id: int
    call_id: int
    is_read: bool
    """Whether a worker has kept what the record says."""


class Accepted(NamedTuple):
    """A changed record that took the place of the one stored before."""

    source: str
    call_ref: str
    call_id: int
    reversed_charges: int


def read_conflict(connection: Connection, failure_id: int) -> Conflict | None:
    """The conflict that a failure is; None when it is none, or no longer open."""
    row = connection.execute(
        text(
            "SELECT f.record_id, c.id, EXISTS (SELECT FROM conflicts WHERE conflicts.record_id = f.record_id) "
            "FROM failures AS f JOIN calls AS c ON c.source = f.source AND c.call_ref = f.call_ref "
            "WHERE f.id = :id AND f.class = 'conflict' AND f.state = 'open'"
        ),
        {"id": failure_id},
    ).one_or_none()
    return None if row is None else Conflict(*row)


def accept_conflict(connection: Connection, failure_id: int, who: str) -> Accepted:
    """Put a record's version in the place of its call's, keep the one before, and take its charge back.

    By a function of the database, which looks at everything for itself and writes down who did it: Flower may write
    neither calls nor charges. The call's batch must have been reopened from classify on in this transaction.
    """
    row = connection.execute(
        text("SELECT of_source, of_call_ref, of_call, reversed FROM accept_conflict(:failure_id, :who)"),
        {"failure_id": failure_id, "who": who},
    ).one()
    return Accepted(*row)
