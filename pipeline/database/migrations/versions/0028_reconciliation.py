"""Reconciliation: its runs and their items, and calls that only a provider's file knows"""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# New tables alone: code of the version before knows none of them, and goes on beside them.
TABLES = """
CREATE TABLE reconcile_runs (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    provider TEXT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    zone TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT reconcile_runs_state_check CHECK (state IN ('done', 'failed', 'locked')),
    rules JSONB NOT NULL,
    inputs JSONB NOT NULL,
    offsets JSONB NOT NULL,
    totals JSONB NOT NULL,
    problems TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by TEXT NOT NULL,
    locked_at TIMESTAMP WITH TIME ZONE,
    locked_by TEXT,
    locked_because TEXT,
    CONSTRAINT reconcile_runs_pkey PRIMARY KEY (id)
);
CREATE INDEX reconcile_runs_provider_since_idx ON reconcile_runs (provider, since);
CREATE TABLE reconcile_items (
    run_id BIGINT NOT NULL,
    item INTEGER NOT NULL,
    item_class TEXT NOT NULL,
    call_id BIGINT,
    line_id BIGINT,
    file_id BIGINT,
    line INTEGER,
    twin_line_id BIGINT,
    apart_seconds INTEGER,
    seconds_here INTEGER,
    seconds_there INTEGER,
    amount_here NUMERIC,
    currency_here TEXT,
    amount_there NUMERIC,
    currency_there TEXT,
    cause TEXT,
    CONSTRAINT reconcile_items_pkey PRIMARY KEY (run_id, item)
);
CREATE UNIQUE INDEX reconcile_items_call_idx ON reconcile_items (run_id, call_id) WHERE call_id IS NOT NULL;
CREATE UNIQUE INDEX reconcile_items_line_idx ON reconcile_items (run_id, line_id) WHERE line_id IS NOT NULL;
CREATE INDEX reconcile_items_dispute_idx ON reconcile_items (run_id, item_class, item) WHERE item_class <> 'equal';
"""

# An item is only ever inserted, and what is locked stays as it is, whoever asks: it was agreed upon.
GUARDS = """
CREATE FUNCTION reconciled_is_locked() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME = 'reconcile_runs' THEN
        IF OLD.state = 'locked' THEN
            RAISE EXCEPTION 'run % is locked: what was agreed upon stays', OLD.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP IN ('UPDATE', 'TRUNCATE') THEN
        RAISE EXCEPTION 'items of a reconciliation are never changed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF EXISTS (SELECT FROM reconcile_runs AS r WHERE r.state = 'locked'
               AND r.id IN (SELECT DISTINCT run_id FROM touched)) THEN
        RAISE EXCEPTION 'the run of these items is locked: what was agreed upon stays'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER reconcile_runs_locked BEFORE UPDATE OR DELETE ON reconcile_runs
    FOR EACH ROW EXECUTE FUNCTION reconciled_is_locked();
CREATE TRIGGER reconcile_items_unchanged BEFORE UPDATE OR TRUNCATE ON reconcile_items
    FOR EACH STATEMENT EXECUTE FUNCTION reconciled_is_locked();
CREATE TRIGGER reconcile_items_inserted AFTER INSERT ON reconcile_items REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION reconciled_is_locked();
CREATE TRIGGER reconcile_items_deleted AFTER DELETE ON reconcile_items REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION reconciled_is_locked();
"""

MISSING = """
CREATE TABLE missing_lines (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    provider TEXT NOT NULL,
    file_id BIGINT NOT NULL,
    line INTEGER NOT NULL,
    run_id BIGINT NOT NULL,
    number TEXT NOT NULL,
    dialed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seconds INTEGER NOT NULL,
    state TEXT NOT NULL CONSTRAINT missing_lines_state_check CHECK (state IN ('found', 'arrived late', 'dismissed')),
    found_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    CONSTRAINT missing_lines_pkey PRIMARY KEY (id),
    CONSTRAINT missing_lines_file_id_line_key UNIQUE (file_id, line)
);
CREATE INDEX missing_lines_found_idx ON missing_lines (provider, dialed_at) WHERE state = 'found';
"""


def upgrade() -> None:
    op.execute(TABLES)
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    op.get_bind().exec_driver_sql(GUARDS.format(schema=schema).replace("%", "%%"))
    op.execute(MISSING)


def downgrade() -> None:
    op.drop_table("missing_lines")
    op.drop_table("reconcile_items")
    op.drop_table("reconcile_runs")
    op.execute("DROP FUNCTION reconciled_is_locked()")
