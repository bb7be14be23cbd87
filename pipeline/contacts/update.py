"""The step that keeps contacts: those that a batch's calls name come to what all their calls come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.contacts.rows import look_and_make, recount_others, recount_touched
from pipeline.database.feed_log import tell_of_contacts
from pipeline.record_ids import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from pipeline.batches.rules.batch import Span
    from pipeline.contacts.rows import Change


class WithoutContact(NamedTuple):
    """Calls that are of no contact, by the reason."""

    none: int
    """Outbound, and no reference was sent, or an empty one."""
    too_long: int
    """Outbound, with a reference longer than the dialler's own rule allows."""
    inbound: int
    """They came in: whom they are of is only inferred, by number."""


def update_contacts(connection: Connection, span: Span) -> WithoutContact:
    """Have the contacts of a span's calls say what all of their calls come to, and tell of those that changed.

    It may be done any number of times: a contact that comes to the same is neither written nor told of.

    Args:
        connection: the step's transaction; it holds the contacts' rows from now on.
        span: records whose calls are classified.

    Returns:
        How many of its calls have no contact.
    """
    looked = look_and_make(connection, span)
    if looked.thorough:
        tell_of_contacts(connection, batch_of(span.first), told(recount_touched(connection, span)))
    elif looked.contacts > len(looked.made):
        recount_others(connection, span, looked.made)
    return WithoutContact(looked.without, looked.too_long, looked.inbound)


def told(changes: Iterable[Change]) -> list[tuple[int, int | None]]:
    """Those changes that a call can be named for."""
    return [(each.cause, each.replaced_by) for each in changes if each.cause is not None]
