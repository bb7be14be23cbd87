"""A refused event is a failure: a person has it delivered again, or gives it up"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# A failure is asked for by its number, whether it is of a record or of a delivery: both are counted by one sequence.
# A deliverer of the version before goes on: what it does not name has a default, and it may use the sequence.
COLUMNS = """
ALTER TABLE feed_refusals
    ALTER COLUMN id DROP IDENTITY IF EXISTS,
    ADD COLUMN IF NOT EXISTS state TEXT DEFAULT 'open' NOT NULL CONSTRAINT feed_refusals_state_check
        CHECK (state IN ('open', 'retrying', 'resolved', 'discarded')),
    ADD COLUMN IF NOT EXISTS attempts INTEGER DEFAULT 1 NOT NULL,
    ADD COLUMN IF NOT EXISTS last_refused_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ADD COLUMN IF NOT EXISTS record_id BIGINT,
    ADD COLUMN IF NOT EXISTS campaign_ref TEXT,
    ADD COLUMN IF NOT EXISTS request TEXT;
ALTER TABLE feed_refusals ALTER COLUMN id SET DEFAULT nextval('failures_id_seq');
UPDATE feed_refusals SET id = nextval('failures_id_seq'), last_refused_at = refused_at,
    attempts = CASE WHEN reason = 'an earlier event of this call was refused' THEN 0 ELSE 1 END,
    record_id = (SELECT coalesce(call_id, batch_id * 65536 + place) FROM feed
                 WHERE feed.position = feed_refusals.position);
DO $$
DECLARE
    deliverer name;
BEGIN
    FOR deliverer IN SELECT DISTINCT rolname FROM pg_class, aclexplode(relacl) AS may, pg_roles
        WHERE pg_class.oid = to_regclass('feed_refusals') AND pg_roles.oid = may.grantee AND privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE failures_id_seq TO %I', deliverer);
    END LOOP;
END
$$;
"""

# As of failures: Flower releases and discards what is open, and nothing is discarded or restored but by somebody.
GUARDS = """
DROP TRIGGER IF EXISTS failure_is_moved_by_a_person ON feed_refusals;
CREATE TRIGGER failure_is_moved_by_a_person AFTER UPDATE OF state ON feed_refusals
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION failure_is_moved_by_a_person();
DROP TRIGGER IF EXISTS failure_is_discarded_by_somebody ON feed_refusals;
CREATE CONSTRAINT TRIGGER failure_is_discarded_by_somebody AFTER UPDATE OF state ON feed_refusals
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state = 'discarded')
    EXECUTE FUNCTION failure_is_discarded_by_somebody();
"""

INDEXES = {
    "feed_refusals_waiting_idx": "(id) WHERE state IN ('open', 'retrying')",
    "feed_refusals_retrying_idx": "(subscriber, position, place) WHERE state = 'retrying'",
}


def upgrade() -> None:
    op.execute(sa.text(COLUMNS))
    op.execute(sa.text(GUARDS))
    # What is before the block stays when it is stopped in the middle, and is done again by the next upgrade.
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = '10min'")
        for name, of in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON feed_refusals {of}")
        op.execute("SET lock_timeout = '5s'")


def downgrade() -> None:
    for name in ("failure_is_moved_by_a_person", "failure_is_discarded_by_somebody"):
        op.execute(f"DROP TRIGGER {name} ON feed_refusals")
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    # What was delivered after all is no refusal to the version before.
    op.execute("DELETE FROM feed_refusals WHERE state = 'resolved'")
    op.execute(
        "ALTER TABLE feed_refusals ALTER COLUMN id DROP DEFAULT, DROP COLUMN state, DROP COLUMN attempts, "
        "DROP COLUMN last_refused_at, DROP COLUMN record_id, DROP COLUMN campaign_ref, DROP COLUMN request"
    )
    op.execute("ALTER TABLE feed_refusals ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY")
    op.execute(
        "SELECT setval(pg_get_serial_sequence('feed_refusals', 'id'), "
        "(SELECT coalesce(max(id), 0) + 1 FROM feed_refusals), false)"
    )
