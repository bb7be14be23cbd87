"""How a migration runs: alone, in its own transaction, and never waiting long for a lock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import text

from pipeline.database.tables import metadata
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Any number will do, as long as every migration of this project takes the same one.
MIGRATION_LOCK = 712_004_311
LONGEST_WAIT_SECONDS = 60.0


def run() -> None:
    engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        # A session lock outlives the transactions below, so a second `release` waits and then finds nothing to do.
        _lock(connection)
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        try:
            context.configure(
                connection=connection,
                target_metadata=metadata,
                transaction_per_migration=True,
                compare_type=True,
            )
            with context.begin_transaction():
                context.run_migrations()
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()


def _lock(connection: Connection) -> None:
    """Take the lock. Whoever waits has no transaction: an index that is made meanwhile would wait for its end."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
        connection.rollback()
        if time.monotonic() > deadline:
            raise PipelineError("another `pipeline release` is at work on this database: try again when it has ended")
        time.sleep(0.2)


run()
