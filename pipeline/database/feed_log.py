"""What happened to single calls after their batch was done, told to the feed in the transaction in which it happened.

What happens to whole batches is told by the statements that receive and finish them (``pipeline/ingest/inbox.py``,
``pipeline/batches/progress.py``): a row a batch costs the hot path no round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterable

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
