"""Numbers that were erased, the proof of it, and holds against it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# New tables alone: code of the version before knows none of them, and goes on beside them.
TABLES = """
CREATE TABLE erased_numbers (
    mark BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    erased_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT erased_numbers_pkey PRIMARY KEY (mark)
);
CREATE TABLE erasures (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    state TEXT NOT NULL CONSTRAINT erasures_state_check CHECK (state IN ('underway', 'done')),
    mark BYTEA CONSTRAINT erasures_mark_check CHECK ((state = 'underway') = (mark IS NOT NULL)),
    who TEXT NOT NULL,
    because TEXT NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    counts JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (id),
    CONSTRAINT erasures_mark_key UNIQUE (mark)
);
CREATE TABLE holds (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    number TEXT NOT NULL,
    because TEXT NOT NULL,
    held_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    held_by TEXT NOT NULL,
    released_at TIMESTAMP WITH TIME ZONE,
    released_by TEXT,
    released_because TEXT,
    CONSTRAINT holds_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX holds_standing_idx ON holds (number) WHERE released_at IS NULL;
"""

# Records in which a number comes again that was erased: a worker may take it out of them before they are calls, and
# change nothing else.
REDACT = """
CREATE FUNCTION redact_records(record_ids bigint[], revisions integer[], raws bytea[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM erased_numbers) THEN
        RAISE EXCEPTION 'no number was erased' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM calls WHERE id = ANY(record_ids)) THEN
        RAISE EXCEPTION 'a record that is a call already is not changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE inbox SET raw = new.raw
    FROM unnest(record_ids, revisions, raws) AS new (record_id, revision, raw)
    WHERE inbox.record_id = new.record_id AND new.revision = 0;
    UPDATE edits SET raw = new.raw
    FROM unnest(record_ids, revisions, raws) AS new (record_id, revision, raw)
    WHERE edits.record_id = new.record_id AND edits.revision = new.revision;
END
$$;
REVOKE ALL ON FUNCTION redact_records(bigint[], integer[], bytea[]) FROM PUBLIC;
"""

# Who heard what is never changed, nor what was reconciled. What they say of a number is, while it is being erased: by
# whoever owns the tables, and nothing but that.
KEPT = """
CREATE FUNCTION erasure_is_under_way() RETURNS boolean LANGUAGE sql STABLE SET search_path = {schema}, pg_temp AS $$
    SELECT EXISTS (SELECT FROM erasures WHERE state = 'underway' AND id::text = current_setting('cdr.erasure', true))
$$;
CREATE FUNCTION all_else_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(new) - TG_ARGV) <> (to_jsonb(old) - TG_ARGV) THEN
        RAISE EXCEPTION '% keeps all that was written but numbers that are erased', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION access_log_is_append_only() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND erasure_is_under_way() THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'who heard what stays written: the access log is append-only';
END
$$;
CREATE TRIGGER access_log_all_else_stays BEFORE UPDATE ON access_log
    FOR EACH ROW EXECUTE FUNCTION all_else_stays('detail', 'reason', 'call_ref');
CREATE TRIGGER reconcile_items_all_else_stays BEFORE UPDATE ON reconcile_items
    FOR EACH ROW EXECUTE FUNCTION all_else_stays('cause');
"""
LOCKED = "    IF TG_OP IN ('UPDATE', 'TRUNCATE') THEN"
LOCKED_BUT_FOR_ERASURE = (
    f"    IF TG_OP = 'UPDATE' AND erasure_is_under_way() THEN\n        RETURN NULL;\n    END IF;\n{LOCKED}"
)

AS_BEFORE = """
DROP TRIGGER reconcile_items_all_else_stays ON reconcile_items;
DROP TRIGGER access_log_all_else_stays ON access_log;
DROP FUNCTION all_else_stays();
CREATE OR REPLACE FUNCTION access_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'who heard what stays written: the access log is append-only';
END
$$;
DROP FUNCTION erasure_is_under_way();
DROP FUNCTION redact_records(bigint[], integer[], bytea[]);
"""


def _change_locking(old: str, new: str) -> None:
    define = op.get_bind().scalar(sa.text("SELECT pg_get_functiondef('reconciled_is_locked()'::regprocedure)"))
    assert old in define
    op.get_bind().exec_driver_sql(define.replace(old, new).replace("%", "%%"))


def upgrade() -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(TABLES)
    for each in (REDACT, KEPT):
        op.get_bind().exec_driver_sql(each.format(schema=schema).replace("%", "%%"))
    _change_locking(LOCKED, LOCKED_BUT_FOR_ERASURE)


def downgrade() -> None:
    _change_locking(LOCKED_BUT_FOR_ERASURE, LOCKED)
    op.get_bind().exec_driver_sql(AS_BEFORE)
    for name in ("holds", "erasures", "erased_numbers"):
        op.drop_table(name)
