"""The files that providers bill by, as they came and as they are read"""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# New tables alone, which code of the version before does not know.
TABLES = """
CREATE TABLE provider_mappings (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    provider TEXT NOT NULL,
    version INTEGER NOT NULL,
    content JSONB NOT NULL,
    sha256 TEXT NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    loaded_by TEXT NOT NULL,
    CONSTRAINT provider_mappings_pkey PRIMARY KEY (id),
    CONSTRAINT provider_mappings_provider_version_key UNIQUE (provider, version),
    CONSTRAINT provider_mappings_provider_sha256_key UNIQUE (provider, sha256)
);
CREATE TABLE provider_files (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    provider TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    mapping_id BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE,
    until TIMESTAMP WITH TIME ZONE,
    zone TEXT NOT NULL,
    lines INTEGER NOT NULL,
    read_lines INTEGER NOT NULL,
    bad_lines INTEGER NOT NULL,
    skipped_lines INTEGER NOT NULL,
    seconds BIGINT NOT NULL,
    money JSONB NOT NULL,
    stated JSONB,
    first_at TIMESTAMP WITH TIME ZONE,
    last_at TIMESTAMP WITH TIME ZONE,
    state TEXT NOT NULL CONSTRAINT provider_files_state_check CHECK (state IN ('loaded', 'withdrawn')),
    loaded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    loaded_by TEXT NOT NULL,
    CONSTRAINT provider_files_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX provider_files_loaded_idx ON provider_files (provider, sha256) WHERE state = 'loaded';
CREATE TABLE provider_lines (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    number TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seconds INTEGER NOT NULL,
    billed_seconds INTEGER,
    amount NUMERIC NOT NULL,
    currency TEXT NOT NULL,
    rate NUMERIC,
    caller TEXT,
    reference TEXT,
    raw TEXT NOT NULL,
    CONSTRAINT provider_lines_pkey PRIMARY KEY (id),
    CONSTRAINT provider_lines_file_id_line_key UNIQUE (file_id, line)
);
CREATE INDEX provider_lines_file_id_number_started_at_idx ON provider_lines (file_id, number, started_at);
CREATE TABLE provider_bad_lines (
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT provider_bad_lines_pkey PRIMARY KEY (file_id, line)
);
CREATE TABLE provider_skipped_lines (
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT provider_skipped_lines_pkey PRIMARY KEY (file_id, line)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    for name in ("provider_skipped_lines", "provider_bad_lines", "provider_lines", "provider_files"):
        op.drop_table(name)
    op.drop_table("provider_mappings")
