"""What a person's role may make of a failure, whose sign of life is whose, and which role wrote an action"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Flower's role may update a failure's state alone, so that is how it is known here: it releases and discards what is
# open, and nothing is discarded but by somebody, for a reason. The reason is written after the failure: looked for at
# the end of the transaction.
FAILURES = """
CREATE FUNCTION failure_is_moved_by_a_person() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF has_table_privilege(TG_RELID, 'UPDATE') THEN
        RETURN NULL;
    END IF;
    IF OLD.state <> 'open' OR NEW.state NOT IN ('retrying', 'discarded') THEN
        RAISE EXCEPTION 'failure % is %, and may not be set to % by %', OLD.id, OLD.state, NEW.state, current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION failure_is_discarded_by_somebody() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege(TG_RELID, 'UPDATE') AND NOT EXISTS (
        SELECT FROM actions WHERE record_id = NEW.record_id AND action = 'discard' AND at = now()) THEN
        RAISE EXCEPTION 'failure % may not be discarded by % without an action that says who did', NEW.id, current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER failure_is_moved_by_a_person AFTER UPDATE OF state ON failures
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION failure_is_moved_by_a_person();
CREATE CONSTRAINT TRIGGER failure_is_discarded_by_somebody AFTER UPDATE OF state ON failures
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state = 'discarded')
    EXECUTE FUNCTION failure_is_discarded_by_somebody();
"""

# An edit mends what was quarantined; a good record that is on its way is not to be made into another.
EDITS = """
CREATE FUNCTION edit_is_of_a_quarantined_record() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege('failures', 'UPDATE') AND NOT EXISTS (
        SELECT FROM failures WHERE record_id = NEW.record_id AND step = 'normalize'
        AND state IN ('open', 'retrying')) THEN
        RAISE EXCEPTION 'record % may not be edited by %: it is not quarantined', NEW.record_id, current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER edit_is_of_a_quarantined_record BEFORE INSERT ON edits
    FOR EACH ROW EXECUTE FUNCTION edit_is_of_a_quarantined_record();
"""

# An ingestor is who may write to the inbox; every other sign of life is of somebody who may store calls. When it was
# given is the database's own word, but to the owner.
HEARTBEATS = """
CREATE FUNCTION heartbeat_is_ones_own() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NOT has_table_privilege(CASE NEW.name WHEN 'ingestor' THEN 'inbox' ELSE 'calls' END, 'INSERT') THEN
        RAISE EXCEPTION '% may give no sign of life of %', current_user, NEW.name
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT has_table_privilege(TG_RELID, 'UPDATE') THEN
        NEW.at := now();
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER heartbeat_is_ones_own BEFORE INSERT OR UPDATE ON heartbeats
    FOR EACH ROW EXECUTE FUNCTION heartbeat_is_ones_own();
"""


def upgrade() -> None:
    # Tables in the order in which transactions that are under way take them.
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(sa.text(EDITS.format(schema=schema)))
    op.execute(sa.text(FAILURES.format(schema=schema)))
    # Rows that are there were written by nobody knows which role: the default comes after the column.
    op.add_column("actions", sa.Column("role", sa.Text(), nullable=True))
    op.alter_column("actions", "role", server_default=sa.text("SESSION_USER"))
    op.execute(sa.text(HEARTBEATS.format(schema=schema)))


def downgrade() -> None:
    op.execute("DROP TRIGGER heartbeat_is_ones_own ON heartbeats")
    op.execute("DROP FUNCTION heartbeat_is_ones_own()")
    op.drop_column("actions", "role")
    for name in ("failure_is_discarded_by_somebody", "failure_is_moved_by_a_person"):
        op.execute(f"DROP TRIGGER {name} ON failures")
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP TRIGGER edit_is_of_a_quarantined_record ON edits")
    op.execute("DROP FUNCTION edit_is_of_a_quarantined_record()")
