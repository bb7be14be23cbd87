"""By which month's key a recording's file is encrypted"""

from __future__ import annotations

from alembic import op

from pipeline.database.migrations.indexes import create_concurrently, drop

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

INDEX = "recordings_key_month_idx"


def upgrade() -> None:
    # Without a default no row is written. Whatever was cut off is taken up where it ended.
    op.execute("ALTER TABLE recordings ADD COLUMN IF NOT EXISTS key_month TEXT")
    create_concurrently(INDEX, "recordings", "(source, key_month) WHERE key_month IS NOT NULL")


def downgrade() -> None:
    drop(INDEX, "recordings")
    op.execute("ALTER TABLE recordings DROP COLUMN key_month")
