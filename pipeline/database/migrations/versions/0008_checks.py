"""The checks that the models declare on columns, which the first migrations left out"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CHECKS = (
    ("batches", "records", "records BETWEEN 1 AND 65536"),
    ("calls", "direction", "direction IN ('inbound', 'outbound')"),
    ("calls", "talk_seconds", "talk_seconds >= 0"),
    ("failures", "step", "step IN ('normalize', 'classify', 'bill', 'schedule_recordings')"),
    ("failures", "class", "class IN ('data', 'conflict', 'reference', 'bug')"),
    ("failures", "state", "state IN ('open', 'retrying', 'resolved', 'discarded')"),
    ("ledger", "kind", "kind IN ('charge', 'reversal')"),
    ("recordings", "state", "state IN ('scheduled', 'downloading', 'stored', 'absent', 'expired', 'failed')"),
    ("stops", "kind", "kind IN ('fuse', 'wrong_list')"),
    ("rates", "rate_per_minute", "rate_per_minute >= 0"),
    ("rates", "connect_fee", "connect_fee >= 0"),
    ("rates", "first_increment", "first_increment > 0"),
    ("rates", "next_increment", "next_increment > 0"),
)


def upgrade() -> None:
    # A moment's lock for new rows; the old ones are read in the next migration, while everybody works.
    for table, column, rule in CHECKS:
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_check CHECK ({rule}) NOT VALID")


def downgrade() -> None:
    for table, column, _ in CHECKS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_check")
