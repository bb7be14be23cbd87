"""Recordings: workers lost with one, files that cannot be deleted, whose files a run reads, stores that are known"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

AWARE = sa.DateTime(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("losses", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delete_tried_at", AWARE, nullable=True),
        sa.Column("delete_problem", sa.Text(), nullable=True),
    ):
        op.add_column("recordings", column)
    op.add_column("recording_verifications", sa.Column("source", sa.Text(), nullable=True))
    op.create_table(
        "recording_stores",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("marker", sa.Text(), nullable=False),
        sa.Column("marked_at", AWARE, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("recording_stores_pkey")),
    )


def downgrade() -> None:
    op.drop_table("recording_stores")
    op.drop_column("recording_verifications", "source")
    for name in ("delete_problem", "delete_tried_at", "losses"):
        op.drop_column("recordings", name)
