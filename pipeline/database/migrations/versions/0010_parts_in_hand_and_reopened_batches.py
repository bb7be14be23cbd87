"""Parts in hand are told from parts given back, and reopened batches from fresh ones"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Each may have been done by a run that was interrupted before its end.
    op.execute("ALTER TABLE probes ADD COLUMN IF NOT EXISTS alone integer DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE probes ADD COLUMN IF NOT EXISTS in_hand uuid")
    op.execute("ALTER TABLE probes ADD COLUMN IF NOT EXISTS server_started_at timestamptz")
    op.execute("ALTER TABLE batches ADD COLUMN IF NOT EXISTS reopened_at timestamptz")
    with op.get_context().autocommit_block():
        # It waits for every transaction that is older, and nobody waits for it.
        op.execute("SET lock_timeout = '10min'")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS batches_fresh_idx")
        op.execute(
            "CREATE INDEX CONCURRENTLY batches_fresh_idx ON batches (due_at) "
            "WHERE finished_at IS NULL AND reopened_at IS NULL"
        )
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    op.execute("DROP INDEX batches_fresh_idx")
    op.execute("ALTER TABLE batches DROP COLUMN reopened_at")
    for column in ("server_started_at", "in_hand", "alone"):
        op.execute(f"ALTER TABLE probes DROP COLUMN {column}")
