"""The one thing Flower does to the ledger, as a function: its role may not write there itself"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# It reverses the charge in force of a call, if and only if another version of that call waits for a person. Whoever
# may execute it can take back nothing else. Temporary tables come last in its search path: a caller's own `ledger`
# would be found first otherwise.
FUNCTION = """
CREATE FUNCTION reverse_charge_of_conflict(conflict bigint, charged_call bigint, why text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    reversed bigint;
BEGIN
    PERFORM FROM failures JOIN calls ON calls.source = failures.source AND calls.call_ref = failures.call_ref
    WHERE failures.id = conflict AND failures.class = 'conflict' AND failures.state = 'open'
      AND calls.id = charged_call;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'failure % is no open conflict about call %', conflict, charged_call
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO ledger (call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                        talk_seconds, rated_seconds, billable_seconds, currency, kind, unrounded, amount, reason)
    SELECT call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
           talk_seconds, rated_seconds, billable_seconds, currency, 'reversal', -unrounded, -amount, why
    FROM (SELECT * FROM ledger WHERE call_id = charged_call ORDER BY ledger.revision DESC, kind DESC LIMIT 1) AS last
    WHERE last.kind = 'charge';
    GET DIAGNOSTICS reversed = ROW_COUNT;
    RETURN reversed;
END
$$;
REVOKE ALL ON FUNCTION reverse_charge_of_conflict(bigint, bigint, text) FROM PUBLIC;
"""


def upgrade() -> None:
    schema = op.get_bind().scalar(text("SELECT quote_ident(current_schema())"))
    op.execute(text(FUNCTION.format(schema=schema)))


def downgrade() -> None:
    op.execute("DROP FUNCTION reverse_charge_of_conflict(bigint, bigint, text)")
