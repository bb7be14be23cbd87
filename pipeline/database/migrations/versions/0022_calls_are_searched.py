"""What a search of calls walks"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# Texts by their bytes: a search asks for equal ones only, and sorting by a locale would cost each insert more.
INDEXES = {
    "calls_source_dialed_at_idx": "calls (source, dialed_at)",
    "calls_campaign_ref_dialed_at_idx": 'calls (campaign_ref COLLATE "C", dialed_at)',
    "calls_extension_dialed_at_idx": 'calls (extension COLLATE "C", dialed_at) WHERE extension IS NOT NULL',
    "calls_inbound_idx": "calls (dialed_at) WHERE direction = 'inbound'",
    "calls_number_ends_idx": 'calls ((left(reverse(client_number), 7) COLLATE "C"))',
    "dispositions_seldom_idx": (
        "dispositions (disposition, call_id) WHERE disposition NOT IN ('answered', 'no_answer', 'busy', 'voicemail')"
    ),
}


def upgrade() -> None:
    # Made while everybody works. Waiting for transactions that began before holds nobody up; they may be long.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '30min'")
        for name, what in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # what an upgrade that was cut off has left
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
