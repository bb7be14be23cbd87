"""What was discarded can be restored, by somebody; more can be done to all failures that match"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

BEFORE = ("retry", "discard")
ACTIONS = (*BEFORE, "restore", "accept", "edit")

# As 0014 made it, and what was discarded may be set open again by whoever has written down before that it was them.
MOVED = """
CREATE OR REPLACE FUNCTION failure_is_moved_by_a_person() RETURNS trigger LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF has_table_privilege(TG_RELID, 'UPDATE') THEN
        RETURN NULL;
    END IF;
    {restored}
    IF OLD.state <> 'open' OR NEW.state NOT IN ('retrying', 'discarded') THEN
        RAISE EXCEPTION 'failure % is %, and may not be set to % by %', OLD.id, OLD.state, NEW.state, current_user
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$
"""
RESTORED = """
    IF OLD.state = 'discarded' AND NEW.state = 'open' AND EXISTS (
        SELECT FROM actions WHERE record_id = NEW.record_id AND action = 'restore' AND at = now()) THEN
        RETURN NULL;
    END IF;
"""


# A worker may neither accept a conflict nor edit a record: these do, while a person has asked for it to be done to all
# that match, and in that person's name.
IN_BULK = """
CREATE FUNCTION accept_conflict_in_bulk(bulk bigint, conflict bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    asked bulk_actions%ROWTYPE;
BEGIN
    SELECT * INTO asked FROM bulk_actions WHERE id = bulk AND action = 'accept' AND ended_at IS NULL
        AND conflict BETWEEN last_id + 1 AND (wanted ->> 'up_to')::bigint;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody has asked for failure % to be accepted by bulk action %', conflict, bulk
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN (SELECT reversed FROM accept_conflict(conflict, asked.who));
END
$$;
CREATE FUNCTION edit_in_bulk(bulk bigint, failure bigint, mended bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    asked bulk_actions%ROWTYPE;
BEGIN
    SELECT * INTO asked FROM bulk_actions WHERE id = bulk AND action = 'edit' AND ended_at IS NULL
        AND failure BETWEEN last_id + 1 AND (wanted ->> 'up_to')::bigint;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody has asked for failure % to be edited by bulk action %', failure, bulk
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO edits (record_id, revision, raw, edited_by)
    SELECT f.record_id, 1 + coalesce((SELECT max(revision) FROM edits WHERE edits.record_id = f.record_id), 0),
           mended, asked.who
    FROM failures AS f
    WHERE f.id = failure AND f.step = 'normalize' AND f.class = 'data' AND f.state = 'open';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'failure % is no open one of a record', failure USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION accept_conflict_in_bulk(bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION edit_in_bulk(bigint, bigint, bytea) FROM PUBLIC;
"""


def _make(restored: str) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(sa.text(MOVED.format(schema=schema, restored=restored)))


def _allow(actions: tuple[str, ...]) -> None:
    words = ", ".join(f"'{action}'" for action in actions)
    op.execute(
        "ALTER TABLE bulk_actions DROP CONSTRAINT bulk_actions_action_check, "
        f"ADD CONSTRAINT bulk_actions_action_check CHECK (action IN ({words}))"
    )


def upgrade() -> None:
    _make(RESTORED)
    _allow(ACTIONS)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(sa.text(IN_BULK.format(schema=schema).replace(":", "\\:")))


def downgrade() -> None:
    op.execute("DROP FUNCTION edit_in_bulk(bigint, bigint, bytea)")
    op.execute("DROP FUNCTION accept_conflict_in_bulk(bigint, bigint)")
    op.execute("DELETE FROM bulk_actions WHERE action NOT IN ('retry', 'discard')")
    _allow(BEFORE)
    _make("")
