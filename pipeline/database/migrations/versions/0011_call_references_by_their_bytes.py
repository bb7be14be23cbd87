"""The key of a call sorts by bytes, whatever the system does to its locales; a stop of a kind of its own"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEX = "calls_call_ref_source_bytes_idx"

# Before PostgreSQL 15 there is no provider but libc, and no column that names it.
SORTS_BY_BYTES = """
SELECT datcollate IN ('C', 'POSIX') AND coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
FROM pg_database AS d WHERE datname = current_database()
"""


def upgrade() -> None:
    op.execute(
        "ALTER TABLE stops DROP CONSTRAINT stops_kind_check, "
        "ADD CONSTRAINT stops_kind_check CHECK (kind IN ('fuse', 'wrong_list', 'conflicts'))"
    )
    if op.get_bind().scalar(text("SELECT EXISTS (SELECT FROM calls)")):
        if not op.get_bind().scalar(text(SORTS_BY_BYTES)):
            _add_index()
    else:
        # Nothing is there to be sorted again. With calls there, this would lock them while their index is made again,
        # and statements that running processes have prepared would fail, for their rows would be of another type.
        op.execute('ALTER TABLE calls ALTER call_ref TYPE text COLLATE "C", ALTER source TYPE text COLLATE "C"')


def _add_index() -> None:
    """A second key beside the one there is, made while everybody works; it finds what the other may miss."""
    with op.get_context().autocommit_block():
        # Waiting for transactions that began before holds nobody up; they may be long.
        op.execute("SET lock_timeout = '30min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")  # what an upgrade that was cut off has left
        op.execute(f'CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON calls (call_ref COLLATE "C", source COLLATE "C")')
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
    op.execute("UPDATE stops SET kind = 'fuse' WHERE kind = 'conflicts'")
    op.execute(
        "ALTER TABLE stops DROP CONSTRAINT stops_kind_check, "
        "ADD CONSTRAINT stops_kind_check CHECK (kind IN ('fuse', 'wrong_list'))"
    )
