"""Which database this is: another one after a failover or a restore, though its name and address are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.database.engine import is_outage

if TYPE_CHECKING:
    from sqlalchemy import Connection

# The timeline that is written to now, by the name of its file; pg_control_checkpoint() lags behind a promotion.
_HISTORY = """
SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::text || '/' ||
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
"""
_CLUSTER = "SELECT system_identifier::text FROM pg_control_system()"


def database_identity(connection: Connection) -> str | None:
    """The cluster, the database in it and its timeline; None where that cannot be told.

    A standby that takes over begins a timeline, and so does a restore to a point in time; a restored dump is in another
    cluster or another database. Anybody may ask, unless a provider took the right to these functions away.
    """
    history = _asked(connection, _HISTORY)
    return history and f"{_asked(connection, _CLUSTER) or '-'}/{history}"


def _asked(connection: Connection, query: str) -> str | None:
    try:
        with connection.begin_nested():
            answer: str | None = connection.scalar(text(query))
            return answer
    except DBAPIError as error:
        # Refused, or not known to a database that only speaks PostgreSQL's language.
        if connection.invalidated or (is_outage(error) and "permission denied" not in str(error)):
            raise
        return None
