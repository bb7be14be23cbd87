"""Replays of the feed, and from where a subscriber's events are counted"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

# Code of the version before names none of these columns: it goes on beside them.
COUNTS = """
ALTER TABLE subscribers
    ADD COLUMN counted_from BIGINT,
    ADD COLUMN counted_from_place INTEGER,
    ADD COLUMN counted_before BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN missed BIGINT DEFAULT 0 NOT NULL
"""

REPLAYS = """
CREATE TABLE replays (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    subscriber TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    campaigns TEXT[],
    rate INTEGER NOT NULL,
    events BIGINT NOT NULL,
    last_position BIGINT NOT NULL,
    last_place INTEGER NOT NULL,
    state TEXT NOT NULL CONSTRAINT replays_state_check
        CHECK (state IN ('active', 'done', 'cancelled', 'expired', 'stopped')),
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
    CONSTRAINT replays_pkey PRIMARY KEY (id),
    CONSTRAINT replays_subscriber_fkey FOREIGN KEY (subscriber)
        REFERENCES subscribers (name) ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX replays_subscriber_idx ON replays (subscriber);
CREATE UNIQUE INDEX replays_active_idx ON replays (subscriber) WHERE state = 'active';
CREATE TABLE replay_refusals (
    replay_id BIGINT NOT NULL,
    position BIGINT NOT NULL,
    place INTEGER NOT NULL,
    event_id UUID NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    call_ref TEXT NOT NULL,
    reason TEXT NOT NULL,
    answer TEXT NOT NULL,
    refused_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT replay_refusals_pkey PRIMARY KEY (replay_id, position, place),
    CONSTRAINT replay_refusals_replay_id_fkey FOREIGN KEY (replay_id)
        REFERENCES replays (id) ON DELETE CASCADE
);
CREATE INDEX replay_refusals_replay_id_source_call_ref_idx
    ON replay_refusals (replay_id, source, call_ref);
"""


def upgrade() -> None:
    op.execute(COUNTS)
    op.execute(REPLAYS)


def downgrade() -> None:
    for name in ("replay_refusals", "replays"):
        op.drop_table(name)
    for name in ("counted_from", "counted_from_place", "counted_before", "missed"):
        op.drop_column("subscribers", name)
