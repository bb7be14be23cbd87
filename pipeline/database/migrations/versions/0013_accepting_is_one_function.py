"""Accepting a conflict is one function of the database, and the ledger looks at what is written into it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# What a record says that is in conflict comes from the worker that read it. Whoever accepts names a failure and
# nothing else: neither the call nor a second of it. Temporary tables come last in the search path, see 0007.
ACCEPT = """
CREATE FUNCTION accept_conflict(conflict bigint, who text)
    RETURNS TABLE (of_source text, of_call_ref text, of_call bigint, reversed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    accepted failures%ROWTYPE;
    new calls%ROWTYPE;
BEGIN
    SELECT calls.id INTO of_call
    FROM failures JOIN calls ON calls.source = failures.source AND calls.call_ref = failures.call_ref
    WHERE failures.id = conflict;
    -- classify, bill, schedule_recordings of the call's batch, as pipeline/batches/progress.py locks them; then the
    -- failure: the order in which a step takes them.
    FOR step IN 1..3 LOOP
        PERFORM pg_advisory_xact_lock((of_call >> 16) * 4 + step);
    END LOOP;
    SELECT * INTO accepted FROM failures
    WHERE id = conflict AND class = 'conflict' AND state = 'open' FOR UPDATE;
    IF NOT FOUND OR of_call IS NULL THEN
        RAISE EXCEPTION 'failure % is no open conflict about a call', conflict USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT (jsonb_populate_record(NULL::calls, content)).* INTO new
    FROM conflicts WHERE conflicts.record_id = accepted.record_id;
    IF new.call_ref IS DISTINCT FROM accepted.call_ref THEN
        RAISE EXCEPTION 'no worker has read record % of failure % as call %',
            accepted.record_id, conflict, accepted.call_ref USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM batches WHERE id = of_call >> 16 AND classified_at IS NULL AND billed_at IS NULL
                   AND recordings_scheduled_at IS NULL AND finished_at IS NULL) THEN
        RAISE EXCEPTION 'the batch of call % is not reopened from classify on', of_call
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO revisions (record_id, call_id, replaced, replaced_hash, accepted_by)
    SELECT accepted.record_id, id, to_jsonb(calls) - 'content_hash', content_hash, who FROM calls WHERE id = of_call;
    UPDATE calls SET
        campaign_ref = new.campaign_ref, contact_ref = new.contact_ref, extension = new.extension,
        client_number = new.client_number, client_number_original = new.client_number_original,
        client_number_is_e164 = new.client_number_is_e164, dial_number = new.dial_number,
        dial_number_original = new.dial_number_original, dial_number_is_e164 = new.dial_number_is_e164,
        direction = new.direction, dialed_at = new.dialed_at, talk_seconds = new.talk_seconds,
        hold_seconds = new.hold_seconds, end_reason = new.end_reason, end_code = new.end_code,
        recording_url = new.recording_url, recording_url_sent = new.recording_url_sent, extra = new.extra,
        content_hash = new.content_hash, normalized_at = now()
    WHERE id = of_call;
    DELETE FROM dispositions WHERE call_id = of_call;
    DELETE FROM uncharged WHERE call_id = of_call;
    INSERT INTO ledger (call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                        talk_seconds, rated_seconds, billable_seconds, currency, kind, unrounded, amount, reason)
    SELECT call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
           talk_seconds, rated_seconds, billable_seconds, currency, 'reversal', -unrounded, -amount,
           format('record %s accepted by %s', accepted.record_id, who)
    FROM (SELECT * FROM ledger WHERE call_id = of_call ORDER BY ledger.revision DESC, kind DESC LIMIT 1) AS last
    WHERE last.kind = 'charge';
    GET DIAGNOSTICS reversed = ROW_COUNT;
    UPDATE failures SET state = 'resolved', retry_at = NULL WHERE id = conflict;
    -- What kept the version before from being classified or charged says nothing about this one.
    UPDATE failures SET state = 'retrying', retry_at = NULL WHERE record_id = of_call AND state = 'open';
    INSERT INTO actions (who, action, record_id, detail)
    VALUES (accept_conflict.who, 'accept', accepted.record_id, NULL),
           (accept_conflict.who, 'replaced by an accepted record', of_call,
            jsonb_build_object('reason', accepted.record_id::text));
    of_source := accepted.source;
    of_call_ref := accepted.call_ref;
    RETURN NEXT;
END
$$;
REVOKE ALL ON FUNCTION accept_conflict(bigint, text) FROM PUBLIC;
"""

# A first charge needs no look: its key allows one. From there on every line follows from one that is there, so a call
# has a charge in force at most once. Reversals are a person's: a worker never takes one back.
GUARD = """
CREATE FUNCTION ledger_line_follows() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NEW.kind = 'charge' THEN
        IF NOT EXISTS (SELECT FROM ledger WHERE call_id = NEW.call_id AND kind = 'reversal'
                       AND revision = NEW.revision - 1) THEN
            RAISE EXCEPTION 'charge % of call % follows no reversal: the one before is in force, or is none',
                NEW.revision, NEW.call_id USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RAISE EXCEPTION 'charge % of call % may not be taken back by %', NEW.revision, NEW.call_id, current_user
            USING ERRCODE = 'insufficient_privilege';
    ELSIF NOT EXISTS (
        SELECT FROM ledger AS charge
        WHERE charge.call_id = NEW.call_id AND charge.kind = 'charge' AND charge.revision = NEW.revision
          AND (charge.amount, charge.unrounded, charge.currency, charge.tariff_version_id, charge.rate_line,
               charge.prefix, charge.rate_per_minute, charge.connect_fee, charge.talk_seconds, charge.rated_seconds,
               charge.billable_seconds)
              IS NOT DISTINCT FROM
              (-NEW.amount, -NEW.unrounded, NEW.currency, NEW.tariff_version_id, NEW.rate_line,
               NEW.prefix, NEW.rate_per_minute, NEW.connect_fee, NEW.talk_seconds, NEW.rated_seconds,
               NEW.billable_seconds)) THEN
        RAISE EXCEPTION 'reversal % of call % is not the mirror of its charge', NEW.revision, NEW.call_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER ledger_line_follows AFTER INSERT ON ledger
    FOR EACH ROW WHEN (NEW.kind <> 'charge' OR NEW.revision <> 1) EXECUTE FUNCTION ledger_line_follows();
"""


def upgrade() -> None:
    op.create_table(
        "conflicts",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("conflicts_pkey")),
    )
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for made in (ACCEPT, GUARD):
        op.execute(sa.text(made.format(schema=schema)))


def downgrade() -> None:
    op.execute("DROP TRIGGER ledger_line_follows ON ledger")
    op.execute("DROP FUNCTION ledger_line_follows()")
    op.execute("DROP FUNCTION accept_conflict(bigint, text)")
    op.drop_table("conflicts")
