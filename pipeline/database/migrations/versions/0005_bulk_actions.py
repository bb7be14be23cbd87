"""Bulk actions; failures that wait, the newest first"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

AWARE = sa.DateTime(timezone=True)
NOW = sa.text("now()")
NONE_YET = sa.text("0")


def upgrade() -> None:
    op.create_table(
        "bulk_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("wanted", postgresql.JSONB(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("asked_at", AWARE, server_default=NOW, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), server_default=NONE_YET, nullable=False),
        sa.Column("done", sa.BigInteger(), server_default=NONE_YET, nullable=False),
        sa.Column("last_id", sa.BigInteger(), server_default=NONE_YET, nullable=False),
        sa.Column("moved_at", AWARE, server_default=NOW, nullable=False),
        sa.Column("ended_at", AWARE, nullable=True),
        sa.CheckConstraint("action IN ('retry', 'discard')", name=op.f("bulk_actions_action_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("bulk_actions_pkey")),
    )
    op.create_index(
        "bulk_actions_underway_idx", "bulk_actions", ["moved_at"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_index(
        "failures_newest_waiting_idx",
        "failures",
        ["id"],
        postgresql_where=sa.text("state IN ('open', 'retrying')"),
    )


def downgrade() -> None:
    op.drop_index("failures_newest_waiting_idx", table_name="failures")
    op.drop_table("bulk_actions")
