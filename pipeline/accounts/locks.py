"""What holds on to a provider's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


def locking_run(connection: Connection, file_id: int) -> int | None:
    """The locked reconciliation that was made with a file; None: there is none, and the file may be withdrawn.

    No reconciliation can be locked before there are any.

    Args:
        connection: of the transaction that would withdraw it.
        file_id: the file.
    """
    del connection, file_id
    return None
