"""What a reference that no call has may have been meant for: a record that was set aside, or a contact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from pipeline.database.narrowing import narrow
from pipeline.database.tables import calls, failures

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.database.narrowing import Conditions

SHOWN: Final = 5
LOOKED_FOR_SECONDS: Final = 5
"""Nobody waits longer for a hint: an upgrade may still be making the index of contacts."""


class SetAside(NamedTuple):
    """A failure of a record that never became a call."""

    id: int
    source: str
    failure_class: str
    state: str
    reason: str


class OfContact(NamedTuple):
    """A call of a contact."""

    source: str
    call_ref: str


def records_set_aside(connection: Connection, call_ref: str, source: str | None) -> list[SetAside]:
    """The failures of records that call themselves so, the newest first, and no more than are shown and one.

    Args:
        connection: the database.
        call_ref: the reference.
        source: one dialler; None: all.
    """
    columns = (failures.c[name] for name in SetAside._fields)
    conditions: Conditions = {
        "call_ref": lambda value: failures.c.call_ref == value,
        "source": lambda value: failures.c.source == value,
    }
    rows = connection.execute(
        select(*columns)
        .where(*narrow({"call_ref": call_ref, "source": source}, conditions))
        .order_by(failures.c.id.desc())
        .limit(SHOWN + 1)
    )
    return [SetAside._make(row) for row in rows]


def calls_of_contact(connection: Connection, contact_ref: str, source: str | None) -> list[OfContact]:
    """Calls of a contact, the newest of those found first, and no more than are shown and one.

    Empty where there are none, and where looking took too long.

    Args:
        connection: the database; its transaction is rolled back where it took too long.
        contact_ref: the contact.
        source: one dialler; None: all.
    """
    conditions: Conditions = {
        "contact_ref": lambda value: calls.c.contact_ref == value,
        "source": lambda value: calls.c.source == value,
    }
    wanted = narrow({"contact_ref": contact_ref, "source": source}, conditions)
    newest = select(calls.c.source, calls.c.call_ref).where(*wanted).order_by(calls.c.id.desc()).limit(SHOWN + 1)
    connection.execute(text(f"SET LOCAL statement_timeout = '{LOOKED_FOR_SECONDS}s'"))
    try:
        return [OfContact._make(row) for row in connection.execute(newest)]
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _TOOK_TOO_LONG:
            raise
        connection.rollback()
        return []


_TOOK_TOO_LONG: Final = "57014"
