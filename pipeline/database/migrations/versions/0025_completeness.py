"""What the dialler's other witnesses say, against what came"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# New tables alone: code of the version before knows none of them, and goes on beside them.
COUNTERS = """
CREATE TABLE counting_marks (
    source TEXT NOT NULL,
    counted_to BIGINT NOT NULL,
    CONSTRAINT counting_marks_pkey PRIMARY KEY (source)
);
CREATE TABLE counted_batches (
    batch_id BIGINT NOT NULL,
    source TEXT NOT NULL,
    CONSTRAINT counted_batches_pkey PRIMARY KEY (batch_id)
);
CREATE TABLE campaign_counts (
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    received BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT campaign_counts_pkey PRIMARY KEY (source, campaign_ref)
) WITH (fillfactor = 70);
CREATE TABLE counter_readings (
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    epoch INTEGER NOT NULL,
    counted_before BIGINT NOT NULL,
    counted_after BIGINT NOT NULL,
    received BIGINT NOT NULL,
    base BIGINT NOT NULL,
    pops BIGINT,
    CONSTRAINT counter_readings_pkey PRIMARY KEY (source, campaign_ref, read_at)
);
CREATE INDEX counter_readings_source_read_at_idx ON counter_readings (source, read_at);
CREATE TABLE findings (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    kind TEXT NOT NULL CONSTRAINT findings_kind_check CHECK (kind IN ('missing', 'second consumer')),
    calls BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    evidence JSONB NOT NULL,
    CONSTRAINT findings_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX findings_open_idx ON findings (source, campaign_ref) WHERE ended_at IS NULL;
CREATE TABLE witnesses (
    source TEXT NOT NULL,
    level SMALLINT NOT NULL,
    state TEXT NOT NULL CONSTRAINT witnesses_state_check
        CHECK (state IN ('available', 'not available', 'unknown', 'off')),
    says TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT witnesses_pkey PRIMARY KEY (source, level)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    op.execute(COUNTERS)


def downgrade() -> None:
    for name in ("witnesses", "findings", "counter_readings", "campaign_counts", "counted_batches", "counting_marks"):
        op.drop_table(name)
