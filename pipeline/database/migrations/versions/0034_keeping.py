"""For how long what is kept, holds on single calls, and an access log that ends"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

KEEPING = """
CREATE TABLE keeping (
    kind TEXT NOT NULL CONSTRAINT keeping_kind_check
        CHECK (kind IN ('raw_records', 'calls', 'charges', 'recordings', 'access_log')),
    source TEXT DEFAULT '' NOT NULL CONSTRAINT keeping_source_check
        CHECK (kind <> 'access_log' OR (source = '' AND campaign_ref = '')),
    campaign_ref TEXT DEFAULT '' NOT NULL,
    keep_at_least INTEGER CONSTRAINT keeping_keep_at_least_check CHECK (keep_at_least BETWEEN 1 AND 36500),
    keep_at_most INTEGER CONSTRAINT keeping_keep_at_most_check CHECK (keep_at_most BETWEEN 1 AND 36500)
        CONSTRAINT keeping_order_check CHECK (keep_at_least <= keep_at_most)
        CONSTRAINT keeping_something_check CHECK (keep_at_least IS NOT NULL OR keep_at_most IS NOT NULL OR forever),
    forever BOOLEAN DEFAULT false NOT NULL CONSTRAINT keeping_forever_check
        CHECK (NOT (forever AND keep_at_most IS NOT NULL)),
    set_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    set_by TEXT NOT NULL,
    because TEXT NOT NULL,
    CONSTRAINT keeping_pkey PRIMARY KEY (kind, source, campaign_ref)
);
"""

# Code of the version before holds numbers alone, and passes a hold on a call by: it asks for a number. There are few
# holds, so nobody waits for the look at them.
HOLDS = """
ALTER TABLE holds ALTER COLUMN number DROP NOT NULL, ADD COLUMN call_id BIGINT CONSTRAINT holds_of_one_check
    CHECK ((number IS NULL) <> (call_id IS NULL));
CREATE UNIQUE INDEX holds_standing_call_idx ON holds (call_id) WHERE released_at IS NULL;
"""

# Nobody may delete of the access log but what is older than the rule says, whoever they are; without a rule nothing.
# Workers do it by the one function, which leaves what is about a call that is held.
EXPIRY = """
CREATE FUNCTION access_log_kept_from() RETURNS timestamptz LANGUAGE sql STABLE SET search_path = {schema}, pg_temp AS $$
    SELECT now() - make_interval(days => greatest(keep_at_most, keep_at_least)) FROM keeping
    WHERE kind = 'access_log' AND keep_at_most IS NOT NULL
$$;
CREATE OR REPLACE FUNCTION access_log_is_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND erasure_is_under_way() OR TG_OP = 'DELETE' AND access_log_kept_from() IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'who heard what stays written: the access log is append-only';
END
$$;
CREATE FUNCTION access_log_is_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM gone WHERE at >= coalesce(access_log_kept_from(), '-infinity')) THEN
        RAISE EXCEPTION 'who heard what stays written: the access log is append-only until it is older than it is kept';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER access_log_is_kept AFTER DELETE ON access_log
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION access_log_is_kept();
CREATE FUNCTION expire_access_log(at_once integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    kept_from timestamptz := access_log_kept_from();
    deleted bigint;
BEGIN
    IF kept_from IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM access_log WHERE id IN (
        SELECT entry.id FROM access_log AS entry WHERE entry.at < kept_from AND NOT EXISTS (
            SELECT FROM holds LEFT JOIN calls ON calls.client_number = holds.number AND calls.id = entry.call_id
            WHERE holds.released_at IS NULL AND entry.call_id IN (holds.call_id, calls.id)
        ) LIMIT at_once
    );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
REVOKE ALL ON FUNCTION expire_access_log(integer) FROM PUBLIC;
"""

AS_BEFORE = """
DROP FUNCTION expire_access_log(integer);
DROP TRIGGER access_log_is_kept ON access_log;
DROP FUNCTION access_log_is_kept();
CREATE OR REPLACE FUNCTION access_log_is_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND erasure_is_under_way() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'who heard what stays written: the access log is append-only';
END
$$;
DROP FUNCTION access_log_kept_from();
DROP TABLE keeping;
"""


def upgrade() -> None:
    op.execute(KEEPING)
    op.execute(HOLDS)
    op.execute(EXPIRY.format(schema=_schema()))


def downgrade() -> None:
    held = op.get_bind().scalar(sa.text("SELECT count(*) FROM holds WHERE call_id IS NOT NULL AND released_at IS NULL"))
    if held:
        raise RuntimeError(f"{held} calls are held, which the version before cannot: release them first")
    op.execute(AS_BEFORE.format(schema=_schema()))
    op.execute("DELETE FROM holds WHERE call_id IS NOT NULL")
    op.execute("ALTER TABLE holds DROP COLUMN call_id, ALTER COLUMN number SET NOT NULL")


def _schema() -> str:
    return str(op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())")))
