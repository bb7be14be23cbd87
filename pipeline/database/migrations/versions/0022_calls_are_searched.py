"""What a search of calls walks"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEXES = {
    "calls_source_dialed_at_idx": "calls (source, dialed_at)",
    "calls_campaign_ref_dialed_at_idx": "calls (campaign_ref, dialed_at)",
    "calls_extension_dialed_at_idx": "calls (extension, dialed_at) WHERE extension IS NOT NULL",
    "calls_dial_number_dialed_at_idx": "calls (dial_number, dialed_at) WHERE dial_number IS NOT NULL",
    "calls_inbound_idx": "calls (dialed_at) WHERE direction = 'inbound'",
    "calls_contact_ref_idx": "calls (contact_ref) WHERE contact_ref IS NOT NULL",
    "calls_number_ends_idx": 'calls ((reverse(client_number) COLLATE "C"))',
    "dispositions_disposition_idx": "dispositions (disposition)",
    "uncharged_reason_idx": "uncharged (reason)",
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
