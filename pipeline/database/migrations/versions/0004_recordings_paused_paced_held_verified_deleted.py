"""Recordings: pauses, pace, holds, verification, deletion"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

AWARE = sa.DateTime(timezone=True)
WAITING = sa.text("state IN ('scheduled', 'downloading')")


def upgrade() -> None:
    op.create_table(
        "recording_pauses",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", AWARE, nullable=False),
        sa.Column("until", AWARE, nullable=False),
        sa.Column("probe_call_id", sa.BigInteger(), nullable=True),
        sa.Column("failed_probes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("call_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('refused', 'throttled', 'dialler_away', 'store_away')", name=op.f("recording_pauses_kind_check")
        ),
        sa.PrimaryKeyConstraint("source", name=op.f("recording_pauses_pkey")),
    )
    op.create_table(
        "recording_pace",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("paced_to", AWARE, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("recording_pace_pkey")),
    )
    op.create_table(
        "recording_verifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("began_at", AWARE, server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", AWARE, nullable=True),
        sa.Column("who", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("recording_verifications_pkey")),
    )
    for column in (
        sa.Column("dialed_at", AWARE, nullable=True),
        sa.Column("counts_from", AWARE, nullable=True),
        sa.Column("released_at", AWARE, nullable=True),
        sa.Column("releases", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("suspect", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("verified_at", AWARE, nullable=True),
        sa.Column("verify_problem", sa.Text(), nullable=True),
        sa.Column("held_at", AWARE, nullable=True),
        sa.Column("held_by", sa.Text(), nullable=True),
        sa.Column("deleted_at", AWARE, nullable=True),
        sa.Column("deleted_reason", sa.Text(), nullable=True),
    ):
        op.add_column("recordings", column)
    op.create_index("recordings_waiting_idx", "recordings", ["source", "due_at"], postgresql_where=WAITING)
    op.create_index(
        "recordings_in_flight_idx",
        "recordings",
        ["source"],
        postgresql_where=sa.text("state = 'downloading' OR released_at IS NOT NULL"),
    )
    op.create_index(
        "recordings_kept_idx",
        "recordings",
        ["dialed_at"],
        postgresql_where=sa.text("state = 'stored' AND deleted_at IS NULL"),
    )
    # Its work is done by recordings_waiting_idx, which keeps one dialler's backlog out of another's way.
    op.drop_index("recordings_due_idx", table_name="recordings", postgresql_where=WAITING)


def downgrade() -> None:
    op.create_index("recordings_due_idx", "recordings", ["due_at"], postgresql_where=WAITING)
    op.drop_index("recordings_kept_idx", table_name="recordings")
    op.drop_index("recordings_in_flight_idx", table_name="recordings")
    op.drop_index("recordings_waiting_idx", table_name="recordings")
    for name in (
        "deleted_reason", "deleted_at", "held_by", "held_at", "verify_problem", "verified_at", "suspect", "releases",
        "released_at", "counts_from", "dialed_at",
    ):  # fmt: skip
        op.drop_column("recordings", name)
    op.drop_table("recording_verifications")
    op.drop_table("recording_pace")
    op.drop_table("recording_pauses")
