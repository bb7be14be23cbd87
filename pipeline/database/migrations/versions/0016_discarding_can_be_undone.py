"""What was discarded can be restored, by somebody; more can be done to all failures that match"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
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


def downgrade() -> None:
    op.execute("DELETE FROM bulk_actions WHERE action NOT IN ('retry', 'discard')")
    _allow(BEFORE)
    _make("")
