"""The time zone of a tariff version; how many batches the balance sheet's tables hold"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# The balance sheet groups these by batch. Without them the planner takes the groups for as many as the rows, and sorts.
# They block no reader and no writer, and say something after the table's next ANALYZE, which autovacuum sees to.
STATISTICS = {
    "dispositions_batches_stat": "dispositions",
    "ledger_batches_stat": "ledger",
    "uncharged_batches_stat": "uncharged",
}


def upgrade() -> None:
    op.add_column("tariff_versions", sa.Column("timezone", sa.Text(), nullable=True))
    for name, table in STATISTICS.items():
        op.execute(f"CREATE STATISTICS {name} ON (call_id >> 16) FROM {table}")


def downgrade() -> None:
    for name in STATISTICS:
        op.execute(f"DROP STATISTICS {name}")
    op.drop_column("tariff_versions", "timezone")
