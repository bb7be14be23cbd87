"""Looks at the database for whoever checks it; writes nothing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.doctor.rules.database import DatabaseFacts
from pipeline.doctor.rules.outside import Clock

if TYPE_CHECKING:
    from sqlalchemy import Connection

COLLATION_VERSIONS = 150_000
"""Since this version a database knows the version of its collation."""
LOCAL_HOSTS = frozenset({None, "", "localhost", "127.0.0.1", "::1"})


# Who may not read others' activity sees that they are there, and not what kind they are: a client has a database and a
# user, a process of the server itself lacks one of them.
CONNECTIONS = """
(SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL) AS connections,
(SELECT current_setting('max_connections')::int - CASE WHEN rolsuper THEN 0 ELSE
    current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0) END
  FROM pg_roles WHERE rolname = current_user) AS max_connections,
current_user::text AS role,
(SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND usename = current_user) AS role_connections,
(SELECT CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user) AS role_limit,
(SELECT count(*) FROM pg_stat_activity
  WHERE usesysid IS NOT NULL AND datname = current_database()) AS database_connections,
(SELECT CASE WHEN rolsuper THEN -1 ELSE datconnlimit END FROM pg_database, pg_roles
  WHERE datname = current_database() AND rolname = current_user) AS database_limit,
"""


def look_at_database(connection: Connection, timezone: str) -> DatabaseFacts:
    """What the server says of itself.

    Args:
        connection: the database.
        timezone: the zone that reports ask it for.
    """
    row = connection.execute(
        text(
            "SELECT current_setting('server_version') AS version, "
            "  current_setting('server_version_num')::int AS version_number, "
            "  pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only, "
            "  current_setting('server_encoding') AS encoding, current_setting('TimeZone') AS session_timezone, "
            "  EXISTS (SELECT FROM pg_timezone_names WHERE name = :timezone) AS knows_timezone, "
            "  current_setting('fsync') = 'on' AS fsync, "
            "  current_setting('synchronous_commit') AS synchronous_commit, "
            f"{CONNECTIONS}"
            "  pg_database_size(current_database()) AS size_bytes, "
            # Subscribers of a logical slot are no standbys; who takes a base backup is none yet.
            "  (SELECT count(*) FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' AND pid NOT IN "
            "     (SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active)) AS standbys, "
            "  current_setting('synchronous_standby_names') <> '' "
            "    AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS synchronous"
        ),
        {"timezone": timezone},
    ).one()
    free, total = _disk(connection)
    collations = _collations(connection) if row.version_number >= COLLATION_VERSIONS else None
    return DatabaseFacts(**row._asdict(), disk_free=free, disk_total=total, collations=collations)


def _collations(connection: Connection) -> tuple[str, str] | None:
    """The version of the database's collation when it was made, and the system's, where these differ."""
    row = connection.execute(
        text(
            "SELECT datcollversion AS made, pg_database_collation_actual_version(oid) AS now "
            "FROM pg_database WHERE datname = current_database()"
        )
    ).one()
    return (row.made, row.now) if row.made and row.now and row.made != row.now else None


def _disk(connection: Connection) -> tuple[int | None, int | None]:
    """Free and total bytes of the disk the data is on, where it is this machine's and we may know."""
    may = connection.scalar(text("SELECT pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"))
    if connection.engine.url.host not in LOCAL_HOSTS or not may:
        return None, None
    folder = Path(str(connection.scalar(text("SELECT current_setting('data_directory')"))))
    # Loopback may be a tunnel or a container's port: the folder must be there, and not be a process's own view.
    if folder.is_relative_to("/proc") or not _is_there(folder):
        return None, None
    disk = shutil.disk_usage(folder)
    return disk.free, disk.total


def _is_there(folder: Path) -> bool:
    try:
        return (folder / "PG_VERSION").exists()
    except PermissionError:
        return folder.is_dir()


def read_clock(connection: Connection) -> Clock:
    """How far the server's clock is ahead of ours."""
    before = time.time()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one())
    after = time.time()
    return Clock("database", theirs - (before + after) / 2, (after - before) / 2)
