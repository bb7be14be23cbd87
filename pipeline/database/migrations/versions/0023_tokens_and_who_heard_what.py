"""Who may ask the HTTP API, and who heard a recording or looked for a number"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# New tables alone: code of the version before knows none of them, and goes on beside them.
TABLES = """
CREATE TABLE api_tokens (
    name TEXT NOT NULL,
    token_hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    sources TEXT[] NOT NULL,
    campaigns TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    revoked_by TEXT,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (name),
    CONSTRAINT api_tokens_token_hash_key UNIQUE (token_hash)
);
CREATE TABLE access_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    who TEXT NOT NULL,
    via TEXT NOT NULL CONSTRAINT access_log_via_check CHECK (via IN ('api', 'flower')),
    action TEXT NOT NULL CONSTRAINT access_log_action_check CHECK (action IN ('listen', 'search')),
    address TEXT,
    reason TEXT,
    call_id BIGINT,
    source TEXT,
    call_ref TEXT,
    detail JSONB NOT NULL,
    role TEXT DEFAULT SESSION_USER NOT NULL,
    CONSTRAINT access_log_pkey PRIMARY KEY (id)
);
CREATE INDEX access_log_call_id_idx ON access_log (call_id) WHERE call_id IS NOT NULL;
CREATE INDEX access_log_at_idx ON access_log USING brin (at);
CREATE FUNCTION access_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'who heard what stays written: the access log is append-only';
END
$$;
CREATE TRIGGER access_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
    FOR EACH STATEMENT EXECUTE FUNCTION access_log_is_append_only();
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.drop_table("access_log")
    op.execute("DROP FUNCTION access_log_is_append_only")
    op.drop_table("api_tokens")
