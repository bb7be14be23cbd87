"""How many batches the other tables hold that the balance sheet sums by batch"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# As those of 0012, for the tables that were then read by their index alone: knowing the number of groups, the planner
# sums them in parallel. They block no reader and no writer.
STATISTICS = {
    "inbox_batches_stat": ("inbox", "record_id"),
    "calls_batches_stat": ("calls", "id"),
    "recordings_batches_stat": ("recordings", "call_id"),
}


def upgrade() -> None:
    for name, (table, key) in STATISTICS.items():
        op.execute(f"CREATE STATISTICS {name} ON ({key} >> 16) FROM {table}")


def downgrade() -> None:
    for name in STATISTICS:
        op.execute(f"DROP STATISTICS {name}")
