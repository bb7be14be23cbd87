"""Contacts, the step that keeps them, and the event that tells of them"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

CHECKS = (
    (
        "failures",
        "step",
        ("normalize", "classify", "bill", "schedule_recordings"),
        "update_contacts",
    ),
    (
        "feed",
        "kind",
        ("call.received", "call.finished", "call.corrected", "recording.ended"),
        "contact.changed",
    ),
)

# A new table and a nullable column: code of the version before goes on beside them. What sorts by its bytes outlives an
# upgrade of the system's locales, as the reference of a call does.
TABLE = """
CREATE TABLE IF NOT EXISTS contacts (
    contact_ref TEXT COLLATE "C" NOT NULL,
    campaign_ref TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    attempts INTEGER NOT NULL,
    outcome TEXT,
    final BOOLEAN,
    first_at TIMESTAMP WITH TIME ZONE,
    last_at TIMESTAMP WITH TIME ZONE,
    reached_at TIMESTAMP WITH TIME ZONE,
    agent TEXT,
    talk_seconds BIGINT,
    best_call_id BIGINT,
    caused_by BIGINT,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT contacts_pkey PRIMARY KEY (contact_ref, campaign_ref, source)
) WITH (fillfactor = 80)
"""

INDEXES = {
    "calls_contact_ref_campaign_ref_idx": (
        "calls (contact_ref text_pattern_ops, campaign_ref text_pattern_ops) WHERE contact_ref IS NOT NULL"
    ),
    "calls_inbound_number_idx": "calls (client_number) WHERE direction = 'inbound'",
    "batches_owing_idx": (
        "batches (due_at) "
        "WHERE finished_at IS NOT NULL AND (contacts_updated_at IS NULL OR contacts_updated_at < classified_at)"
    ),
}


def upgrade() -> None:
    # Each may have been done by a run that was interrupted before its end.
    op.execute("ALTER TABLE batches ADD COLUMN IF NOT EXISTS contacts_updated_at timestamptz")
    op.execute(TABLE)
    for table, column, words, new in CHECKS:
        _replace(table, column, (*words, new))
    with op.get_context().autocommit_block():
        # It waits for every transaction that is older, and nobody waits for it.
        op.execute("SET lock_timeout = '10min'")
        for table, column, _, _ in CHECKS:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{column}_check")
        for name, what in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {what}")
        op.execute("SET lock_timeout = '5s'")


def _replace(table: str, column: str, words: tuple[str, ...]) -> None:
    """A moment's lock; the rows that are there are read afterwards, while everybody works."""
    allowed = ", ".join(f"'{word}'" for word in words)
    name = f"{table}_{column}_check"
    op.execute(
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, "
        f"ADD CONSTRAINT {name} CHECK ({column} IN ({allowed})) NOT VALID"
    )


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for table, column, words, new in CHECKS:
        op.execute(f"DELETE FROM {table} WHERE {column} = '{new}'")
        _replace(table, column, words)
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{column}_check")
    op.execute("DROP TABLE contacts")
    op.execute("ALTER TABLE batches DROP COLUMN contacts_updated_at")
