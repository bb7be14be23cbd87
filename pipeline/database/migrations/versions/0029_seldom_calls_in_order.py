"""What is seldom, in the order in which its calls were dialled: dispositions, and recordings that nobody has"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

SELDOM = "disposition NOT IN ('answered', 'no_answer', 'busy', 'voicemail')"
NEW, OLD = "dispositions_seldom_dialed_idx", "dispositions_seldom_idx"
AT_ONCE = 5_000
MISSING, MISSING_IDX = "state IN ('absent', 'expired', 'failed')", "recordings_missing_dialed_idx"

# Code of the version before gives no instant. A search finds what it classified all the same, beside the others.
FILL = sa.text(
    f"""
    WITH part AS (
        SELECT call_id, disposition FROM dispositions
        WHERE {SELDOM} AND (disposition, call_id) > (:disposition, :call_id)
        ORDER BY disposition, call_id LIMIT {AT_ONCE}
    ), filled AS (
        UPDATE dispositions SET call_dialed_at = calls.dialed_at FROM calls, part
        WHERE part.call_id = dispositions.call_id AND calls.id = part.call_id AND call_dialed_at IS NULL
    )
    SELECT disposition, call_id FROM part ORDER BY disposition DESC, call_id DESC LIMIT 1
    """
)

# Whatever the functions are by now: a record that takes another's place may say that it was dialled at another time.
REPLACING = {"accept_conflict(bigint,text)": "of_call", "replace_pulled(bigint,jsonb)": "stored.id"}


def _change(function: str, old: str, new: str) -> None:
    query = sa.text("SELECT pg_get_functiondef(cast(:name AS regprocedure))")
    define = op.get_bind().scalar(query, {"name": function})
    op.get_bind().exec_driver_sql(define.replace(old, new, 1).replace("%", "%%"))


def _pairs() -> list[tuple[str, str, str]]:
    found = []
    for function, call in REPLACING.items():
        before = f"DELETE FROM uncharged WHERE call_id = {call};"
        also = f"UPDATE recordings SET dialed_at = new.dialed_at WHERE call_id = {call};"
        found.append((function, before, f"{before}\n    {also}"))
    return found


def upgrade() -> None:
    # Without a default no row is written. Whatever was cut off is taken up where it ended.
    op.execute("ALTER TABLE dispositions ADD COLUMN IF NOT EXISTS call_dialed_at TIMESTAMP WITH TIME ZONE")
    for function, before, after in _pairs():
        _change(function, after, before)  # of an upgrade that was cut off
        _change(function, before, after)
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        last = ("", 0)
        while row := connection.execute(FILL, {"disposition": last[0], "call_id": last[1]}).one_or_none():
            last = tuple(row)
        op.execute("SET lock_timeout = '30min'")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NEW}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {NEW} ON dispositions (disposition, call_dialed_at, call_id) WHERE {SELDOM}"
        )
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {OLD}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {MISSING_IDX}")
        op.execute(f"CREATE INDEX CONCURRENTLY {MISSING_IDX} ON recordings (state, dialed_at, call_id) WHERE {MISSING}")
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {OLD}")
        op.execute(f"CREATE INDEX CONCURRENTLY {OLD} ON dispositions (disposition, call_id) WHERE {SELDOM}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NEW}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {MISSING_IDX}")
    for function, before, after in _pairs():
        _change(function, after, before)
    op.execute("ALTER TABLE dispositions DROP COLUMN call_dialed_at")
