"""What holds on to a provider's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection


def locking_run(connection: Connection, file_id: int) -> int | None:
    """The locked reconciliation that was made with a file; None: there is none, and the file may be withdrawn.

    Args:
        connection: of the transaction that would withdraw it.
        file_id: the file.
    """
    found: int | None = connection.scalar(_LOCKING, {"file": file_id})
    return found


_LOCKING = text(
    "SELECT min(id) FROM reconcile_runs WHERE state = 'locked' "
    "AND inputs -> 'files' @> jsonb_build_array(jsonb_build_object('id', cast(:file AS bigint)))"
)
