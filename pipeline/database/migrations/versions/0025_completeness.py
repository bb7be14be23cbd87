"""What the dialler's other witnesses say, against what came"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# New tables, which code of the version before does not know.
COUNTERS = """
CREATE TABLE counting_marks (
    source TEXT NOT NULL,
    counted_to BIGINT NOT NULL,
    CONSTRAINT counting_marks_pkey PRIMARY KEY (source)
);
CREATE TABLE counted_batches (
    batch_id BIGINT NOT NULL,
    source TEXT NOT NULL,
    CONSTRAINT counted_batches_pkey PRIMARY KEY (batch_id)
);
CREATE TABLE campaign_counts (
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    received BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT campaign_counts_pkey PRIMARY KEY (source, campaign_ref)
) WITH (fillfactor = 70);
CREATE TABLE counter_readings (
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    epoch INTEGER NOT NULL,
    counted_before BIGINT NOT NULL,
    counted_after BIGINT NOT NULL,
    received BIGINT NOT NULL,
    base BIGINT NOT NULL,
    pops BIGINT,
    CONSTRAINT counter_readings_pkey PRIMARY KEY (source, campaign_ref, read_at)
);
CREATE INDEX counter_readings_source_read_at_idx ON counter_readings (source, read_at);
CREATE TABLE findings (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    kind TEXT NOT NULL CONSTRAINT findings_kind_check CHECK (kind IN ('missing', 'second consumer')),
    calls BIGINT NOT NULL,
    since TIMESTAMP WITH TIME ZONE NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    evidence JSONB NOT NULL,
    CONSTRAINT findings_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX findings_open_idx ON findings (source, campaign_ref) WHERE ended_at IS NULL;
CREATE TABLE witnesses (
    source TEXT NOT NULL,
    level SMALLINT NOT NULL,
    state TEXT NOT NULL CONSTRAINT witnesses_state_check
        CHECK (state IN ('available', 'not available', 'unknown', 'off')),
    says TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT witnesses_pkey PRIMARY KEY (source, level)
) WITH (fillfactor = 50);
"""

API = """
CREATE TABLE campaign_looks (
    source TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    status TEXT NOT NULL,
    looked_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    attempts BIGINT,
    known BIGINT,
    says TEXT,
    CONSTRAINT campaign_looks_pkey PRIMARY KEY (source, campaign_ref)
);
CREATE TABLE contact_looks (
    source TEXT NOT NULL,
    contact_ref TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    dial_attempts INTEGER NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE,
    looked_at TIMESTAMP WITH TIME ZONE,
    says TEXT,
    CONSTRAINT contact_looks_pkey PRIMARY KEY (source, contact_ref)
);
CREATE INDEX contact_looks_due_idx ON contact_looks (source, due_at) WHERE due_at IS NOT NULL;
CREATE TABLE api_halts (
    source TEXT NOT NULL,
    until TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT api_halts_pkey PRIMARY KEY (source)
);
CREATE TABLE missing_calls (
    source TEXT NOT NULL,
    call_ref TEXT NOT NULL,
    campaign_ref TEXT NOT NULL,
    contact_ref TEXT NOT NULL,
    dialed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state TEXT NOT NULL CONSTRAINT missing_calls_state_check
        CHECK (state IN ('found', 'imported', 'arrived late', 'dismissed')),
    found_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    pulled_at TIMESTAMP WITH TIME ZONE,
    evidence JSONB NOT NULL,
    CONSTRAINT missing_calls_pkey PRIMARY KEY (source, call_ref)
);
CREATE INDEX missing_calls_found_idx ON missing_calls (source, campaign_ref) WHERE state = 'found';
CREATE TABLE answered_seconds (
    call_id BIGINT NOT NULL,
    seconds INTEGER NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT answered_seconds_pkey PRIMARY KEY (call_id)
);
"""

# A call that was pulled has a kind, and no direction: the API does not say it. Code of the version before reads such a
# call as any other, and sets a pulled record aside as one of a type that it does not know.
KIND = """
ALTER TABLE calls ADD COLUMN IF NOT EXISTS record_kind TEXT;
ALTER TABLE calls ALTER COLUMN direction DROP NOT NULL;
"""

# Whatever the function is by now: whoever accepts a record takes its kind, too.
ACCEPTED = "content_hash = new.content_hash,"
ACCEPTED_WITH_KIND = "content_hash = new.content_hash, record_kind = new.record_kind,"

# The real record of a call that was pulled takes its place, as `accept_conflict` does it, but for a person: what is
# replaced was never more than a stand-in. The caller has reopened the call's batch, which holds its steps.
REPLACE = """
CREATE FUNCTION replace_pulled(real_record bigint, content jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    new calls%ROWTYPE;
    stored calls%ROWTYPE;
    reversed bigint;
BEGIN
    SELECT (jsonb_populate_record(NULL::calls, content)).* INTO new;
    SELECT * INTO stored FROM calls
    WHERE source = new.source AND call_ref = new.call_ref AND record_kind = 'pulled' FOR UPDATE;
    IF NOT FOUND OR new.record_kind IS NOT NULL THEN
        RAISE EXCEPTION 'call % of % is none that was pulled', new.call_ref, new.source
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM inbox JOIN batches ON batches.id = record_id >> 16
                   WHERE record_id = real_record AND source = new.source)
       OR EXISTS (SELECT FROM calls WHERE id = real_record)
       OR EXISTS (SELECT FROM duplicates AS d WHERE d.record_id = real_record) THEN
        RAISE EXCEPTION 'record % is none that waits to be read', real_record USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM batches WHERE id = stored.id >> 16 AND classified_at IS NULL AND billed_at IS NULL
                   AND recordings_scheduled_at IS NULL AND finished_at IS NULL) THEN
        RAISE EXCEPTION 'the batch of call % is not reopened from classify on', stored.id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO revisions (record_id, call_id, replaced, replaced_hash, accepted_by)
    VALUES (real_record, stored.id, to_jsonb(stored) - 'content_hash', stored.content_hash, 'pipeline');
    UPDATE calls SET
        campaign_ref = new.campaign_ref, contact_ref = new.contact_ref, extension = new.extension,
        client_number = new.client_number, client_number_original = new.client_number_original,
        client_number_is_e164 = new.client_number_is_e164, dial_number = new.dial_number,
        dial_number_original = new.dial_number_original, dial_number_is_e164 = new.dial_number_is_e164,
        direction = new.direction, dialed_at = new.dialed_at, talk_seconds = new.talk_seconds,
        hold_seconds = new.hold_seconds, end_reason = new.end_reason, end_code = new.end_code,
        recording_url = new.recording_url, recording_url_sent = new.recording_url_sent, extra = new.extra,
        content_hash = new.content_hash, record_kind = NULL, normalized_at = now()
    WHERE id = stored.id;
    DELETE FROM dispositions WHERE call_id = stored.id;
    DELETE FROM uncharged WHERE call_id = stored.id;
    INSERT INTO ledger (call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                        talk_seconds, rated_seconds, billable_seconds, currency, kind, unrounded, amount, reason)
    SELECT call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
           talk_seconds, rated_seconds, billable_seconds, currency, 'reversal', -unrounded, -amount,
           format('record %s arrived, the call had been pulled', real_record)
    FROM (SELECT * FROM ledger WHERE call_id = stored.id ORDER BY revision DESC, ledger.kind DESC LIMIT 1) AS last
    WHERE last.kind = 'charge';
    GET DIAGNOSTICS reversed = ROW_COUNT;
    -- What kept the stand-in from being classified or charged says nothing about the call.
    UPDATE failures SET state = 'retrying', retry_at = NULL WHERE record_id = stored.id AND state = 'open';
    INSERT INTO actions (who, action, record_id, detail)
    VALUES ('pipeline', 'pulled call replaced', stored.id, jsonb_build_object('reason', real_record::text));
    RETURN reversed;
END
$$;
REVOKE ALL ON FUNCTION replace_pulled(bigint, jsonb) FROM PUBLIC;
"""


def _change_accepting(old: str, new: str) -> None:
    define = op.get_bind().scalar(sa.text("SELECT pg_get_functiondef('accept_conflict(bigint,text)'::regprocedure)"))
    assert old in define
    op.get_bind().exec_driver_sql(define.replace(old, new).replace("%", "%%"))


def upgrade() -> None:
    op.execute(COUNTERS)
    op.execute(API)
    op.execute(KIND)
    _change_accepting(ACCEPTED, ACCEPTED_WITH_KIND)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.get_bind().exec_driver_sql(REPLACE.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    op.execute("DROP FUNCTION replace_pulled(bigint, jsonb)")
    _change_accepting(ACCEPTED_WITH_KIND, ACCEPTED)
    # What the API did not say was outbound: it lists no other calls as ended.
    op.execute("UPDATE calls SET direction = 'outbound' WHERE direction IS NULL")
    op.execute("ALTER TABLE calls ALTER COLUMN direction SET NOT NULL, DROP COLUMN record_kind")
    for name in ("answered_seconds", "missing_calls", "api_halts", "contact_looks", "campaign_looks"):
        op.drop_table(name)
    for name in ("witnesses", "findings", "counter_readings", "campaign_counts", "counted_batches", "counting_marks"):
        op.drop_table(name)
