"""What happened to single calls after their batch was done, told to the feed in the transaction in which it happened.

What happens to whole batches is told by the statements that receive and finish them (``pipeline/ingest/inbox.py``,
``pipeline/batches/progress.py``): a row a batch costs the hot path no round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import text

from pipeline.database.engine import execute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import LiteralString

    from sqlalchemy import Connection


def tell(
    connection: Connection, kind: Literal["call.corrected", "recording.ended"], calls: Iterable[tuple[int, int]]
) -> None:
    """Enter one event for each of these calls.

    Args:
        connection: of the transaction in which it happens.
        kind: what happened.
        calls: their ids, each with what tells this event from others of its kind about the same call: the record that
            was accepted, the action of the rerating, when the recording ended.
    """
    pairs = list(calls)
    if pairs:
        values = {"kind": kind, "ids": [each for each, _ in pairs], "revisions": [each for _, each in pairs]}
        connection.execute(_TELL, values)


# SQL: many rows in one statement of three parameters.
_TELL: Final = text(
    "INSERT INTO feed (kind, source, call_id, revision) SELECT :kind, calls.source, calls.id, told.revision "
    "FROM unnest(cast(:ids AS bigint[]), cast(:revisions AS bigint[])) AS told (call_id, revision) "
    "JOIN calls ON calls.id = told.call_id ORDER BY calls.id"
)


def tell_of_contacts(
    connection: Connection, batch_id: int, changes: Iterable[tuple[int, int | None]], *, revision: int | None = None
) -> None:
    """Enter that contacts changed: a row for those that calls of a batch name, one for each that a call named before.

    Args:
        connection: of the transaction in which it happens.
        batch_id: the batch of the calls that caused it.
        changes: the ids of these calls, each with the id of the record that was accepted in its place, if that is why
            the contact is without it now.
        revision: what tells these from changes by the same calls before; None: when the batch was opened again.
    """
    pairs = list(changes)
    if not pairs:
        return
    execute(
        connection,
        _TELL_OF_CONTACTS,
        {
            "batch_id": batch_id,
            "revision": revision,
            "named": sorted(call_id for call_id, replaced_by in pairs if replaced_by is None),
            "left": [call_id for call_id, replaced_by in pairs if replaced_by is not None],
            "records": [replaced_by for _, replaced_by in pairs if replaced_by is not None],
        },
    )


def contacts_told(calls: LiteralString, *, revision: LiteralString = "NULL") -> LiteralString:
    """The statement that enters that contacts changed by calls of the batch `%(batch_id)s`, unless there are none.

    For who changes them in the same statement, which spares a way to the server for each batch there is.

    Args:
        calls: an expression that gives the ids of the calls, in their order, as an array.
        revision: what tells these changes from others by the same calls; else it is when the batch was opened again.
    """
    return (
        "INSERT INTO feed (kind, source, batch_id, call_id, revision, named) "
        "SELECT 'contact.changed', source, id, NULL::bigint, "
        f"       coalesce({revision}::bigint, (extract(epoch FROM reopened_at) * 1000)::bigint, 0), named "
        f"FROM batches CROSS JOIN (SELECT {calls} AS named) AS told WHERE id = %(batch_id)s AND named <> '{{}}'"
    )


_TELL_OF_CONTACTS: Final[LiteralString] = f"""
{contacts_told("%(named)s::bigint[]", revision="%(revision)s")}
UNION ALL
SELECT 'contact.changed', calls.source, NULL, call_id, record_id, NULL
FROM unnest(%(left)s::bigint[], %(records)s::bigint[]) AS gone (call_id, record_id) JOIN calls ON calls.id = call_id
"""
