"""How a migration runs: alone, in its own transaction, and never waiting long for a lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from pipeline.storage.models import metadata

# Any number will do, as long as every migration of this project takes the same one.
MIGRATION_LOCK = 712_004_311


def run() -> None:
    engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        # A session lock outlives the transactions below, so a second `release` waits and then finds nothing to do.
        connection.execute(text("SET lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
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


run()
