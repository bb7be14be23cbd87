"""By which month's key a recording's file is encrypted"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

INDEX = "recordings_key_month_idx"


def upgrade() -> None:
    # Without a default no row is written. Whatever was cut off is taken up where it ended.
    op.execute("ALTER TABLE recordings ADD COLUMN IF NOT EXISTS key_month TEXT")
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '30min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON recordings (source, key_month) WHERE key_month IS NOT NULL")
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
    op.execute("ALTER TABLE recordings DROP COLUMN key_month")
