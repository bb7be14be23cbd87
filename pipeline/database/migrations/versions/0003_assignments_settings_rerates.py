"""Assignments of tariffs, settings of a version, what a ledger line needs to be explained and rerated"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tariff_assignments",
        sa.Column("campaign_ref", sa.Text(), nullable=False),
        sa.Column("tariff_id", sa.Integer(), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("assigned_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tariff_id"], ["tariffs.id"], name=op.f("tariff_assignments_tariff_id_fkey")),
        sa.PrimaryKeyConstraint("campaign_ref", name=op.f("tariff_assignments_pkey")),
    )
    op.add_column("tariff_versions", sa.Column("duration_basis", sa.Text(), server_default="call_time", nullable=False))
    op.create_check_constraint(
        op.f("tariff_versions_duration_basis_check"),
        "tariff_versions",
        "duration_basis IN ('call_time', 'call_time+hold_time')",
    )
    op.add_column(
        "tariff_versions",
        sa.Column("inbound_rated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("ledger", sa.Column("rate_line", sa.Integer(), nullable=True))
    op.add_column("ledger", sa.Column("rated_seconds", sa.Integer(), nullable=True))
    op.add_column("ledger", sa.Column("rerate_id", sa.BigInteger(), nullable=True))
    # Small beside a tree, and nearly free for the hot path: calls come in about the order in which they are dialled.
    op.create_index(
        op.f("calls_dialed_at_idx"),
        "calls",
        ["dialed_at"],
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
    )


def downgrade() -> None:
    op.drop_index(op.f("calls_dialed_at_idx"), table_name="calls")
    op.drop_column("ledger", "rerate_id")
    op.drop_column("ledger", "rated_seconds")
    op.drop_column("ledger", "rate_line")
    op.drop_column("tariff_versions", "inbound_rated")
    op.drop_constraint(op.f("tariff_versions_duration_basis_check"), "tariff_versions")
    op.drop_column("tariff_versions", "duration_basis")
    op.drop_table("tariff_assignments")
