"""The feed of what happened to calls, who gets it, and what they would not have"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# New tables alone: code of the version before knows none of them, and goes on beside them.
TABLES = """
CREATE TABLE feed (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    position BIGINT,
    kind TEXT NOT NULL CONSTRAINT feed_kind_check
        CHECK (kind IN ('call.received', 'call.finished', 'call.corrected', 'recording.ended')),
    source TEXT NOT NULL,
    batch_id BIGINT,
    call_id BIGINT,
    revision BIGINT DEFAULT 0 NOT NULL,
    left_out BIGINT[],
    named BIGINT[],
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT feed_pkey PRIMARY KEY (id),
    CONSTRAINT feed_about_check CHECK ((batch_id IS NULL) <> (call_id IS NULL)),
    CONSTRAINT feed_position_key UNIQUE (position)
) WITH (fillfactor = 80);
CREATE INDEX feed_at_idx ON feed USING brin (at);
CREATE INDEX feed_batch_id_idx ON feed (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX feed_unplaced_idx ON feed (id) WHERE position IS NULL;
CREATE TABLE subscribers (
    name TEXT NOT NULL,
    token UUID NOT NULL,
    sink TEXT NOT NULL,
    settings JSONB NOT NULL,
    sources TEXT[] NOT NULL,
    campaigns TEXT[] NOT NULL,
    kinds TEXT[] NOT NULL,
    dispositions TEXT[],
    fields TEXT[],
    shape TEXT NOT NULL CONSTRAINT subscribers_shape_check CHECK (shape IN ('raw', 'call', 'thin')),
    ordering TEXT NOT NULL CONSTRAINT subscribers_ordering_check
        CHECK (ordering IN ('strict', 'per call', 'none')),
    state TEXT NOT NULL CONSTRAINT subscribers_state_check
        CHECK (state IN ('active', 'paused', 'expired', 'disabled')),
    state_since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    state_reason TEXT,
    position BIGINT NOT NULL,
    place INTEGER NOT NULL,
    leased_by UUID,
    leased_until TIMESTAMP WITH TIME ZONE,
    misses INTEGER DEFAULT 0 NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    last_error TEXT,
    last_error_at TIMESTAMP WITH TIME ZONE,
    delivered BIGINT DEFAULT 0 NOT NULL,
    filtered BIGINT DEFAULT 0 NOT NULL,
    refused BIGINT DEFAULT 0 NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    hole_from BIGINT,
    hole_to BIGINT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by TEXT NOT NULL,
    CONSTRAINT subscribers_pkey PRIMARY KEY (name)
) WITH (fillfactor = 50);
CREATE TABLE subscriber_secrets (
    name TEXT NOT NULL,
    settings JSONB NOT NULL,
    CONSTRAINT subscriber_secrets_pkey PRIMARY KEY (name),
    CONSTRAINT subscriber_secrets_name_fkey FOREIGN KEY (name)
        REFERENCES subscribers (name) ON DELETE CASCADE
);
CREATE TABLE feed_refusals (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    subscriber TEXT NOT NULL,
    position BIGINT NOT NULL,
    place INTEGER NOT NULL,
    event_id UUID NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    call_ref TEXT NOT NULL,
    reason TEXT NOT NULL,
    answer TEXT NOT NULL,
    refused_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT feed_refusals_pkey PRIMARY KEY (id),
    CONSTRAINT feed_refusals_subscriber_position_place_key UNIQUE (subscriber, position, place),
    CONSTRAINT feed_refusals_subscriber_fkey FOREIGN KEY (subscriber)
        REFERENCES subscribers (name) ON DELETE CASCADE
);
CREATE INDEX feed_refusals_subscriber_source_call_ref_idx
    ON feed_refusals (subscriber, source, call_ref);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    for name in ("feed_refusals", "subscriber_secrets", "subscribers", "feed"):
        op.drop_table(name)
