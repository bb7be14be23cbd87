"""The tables of the first version"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


LEDGER_GUARD = """
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: correct a line by a reversal and a new line'
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
"""


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("actions_pkey")),
    )
    op.create_index(op.f("actions_record_id_idx"), "actions", ["record_id"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("normalized_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("classified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("billed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recordings_scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resends", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("batches_pkey")),
        sa.UniqueConstraint("claim", name=op.f("batches_claim_key")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(op.f("batches_source_received_at_idx"), "batches", ["source", "received_at"], unique=False)
    op.create_index(
        "batches_unfinished_idx",
        "batches",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "calls",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("call_ref", sa.Text(), nullable=False),
        sa.Column("campaign_ref", sa.Text(), nullable=False),
        sa.Column("contact_ref", sa.Text(), nullable=True),
        sa.Column("extension", sa.Text(), nullable=True),
        sa.Column("client_number", sa.Text(), nullable=True),
        sa.Column("client_number_original", sa.Text(), nullable=True),
        sa.Column("client_number_is_e164", sa.Boolean(), nullable=False),
        sa.Column("dial_number", sa.Text(), nullable=True),
        sa.Column("dial_number_original", sa.Text(), nullable=True),
        sa.Column("dial_number_is_e164", sa.Boolean(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("dialed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("talk_seconds", sa.Integer(), nullable=False),
        sa.Column("hold_seconds", sa.Integer(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.Column("end_code", sa.Integer(), nullable=True),
        sa.Column("recording_url", sa.Text(), nullable=True),
        sa.Column("recording_url_sent", sa.Boolean(), nullable=False),
        sa.Column("extra", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("normalized_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("calls_pkey"), postgresql_include=["talk_seconds"]),
        sa.UniqueConstraint("call_ref", "source", name=op.f("calls_call_ref_source_key")),
    )
    op.create_table(
        "dispositions",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("disposition", sa.Text(), nullable=False),
        sa.Column("uncertain", sa.Boolean(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("end_code_meaning", sa.Text(), nullable=True),
        sa.Column("person_reached", sa.Boolean(), nullable=False),
        sa.Column("contact_done", sa.Boolean(), nullable=False),
        sa.Column("can_be_billed", sa.Boolean(), nullable=False),
        sa.Column("can_have_audio", sa.Boolean(), nullable=False),
        sa.Column("classified_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("dispositions_pkey"), postgresql_include=["can_have_audio"]),
    )
    op.create_table(
        "duplicates",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call_id", sa.BigInteger(), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("duplicates_pkey")),
    )
    op.create_index(op.f("duplicates_call_id_idx"), "duplicates", ["call_id"], unique=False)
    op.create_table(
        "edits",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("edited_by", sa.Text(), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "revision", name=op.f("edits_pkey")),
    )
    op.create_table(
        "failures",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("call_ref", sa.Text(), nullable=True),
        sa.Column("campaign_ref", sa.Text(), nullable=True),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("failures_pkey")),
        sa.UniqueConstraint("record_id", "step", name=op.f("failures_record_id_step_key")),
    )
    op.create_index(
        "failures_retry_idx",
        "failures",
        ["retry_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND retry_at IS NOT NULL"),
    )
    op.create_index(
        "failures_waiting_idx",
        "failures",
        ["class", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'retrying')"),
    )
    op.create_table(
        "inbox",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("inbox_pkey")),
    )
    op.create_table(
        "ledger",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tariff_version_id", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("rate_per_minute", sa.Numeric(), nullable=False),
        sa.Column("connect_fee", sa.Numeric(), nullable=False),
        sa.Column("talk_seconds", sa.Integer(), nullable=False),
        sa.Column("billable_seconds", sa.Integer(), nullable=False),
        sa.Column("unrounded", sa.Numeric(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint(
            "call_id", "kind", "revision", name=op.f("ledger_pkey"), postgresql_include=["currency", "amount"]
        ),
    )
    op.create_table(
        "recordings",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("call_ref", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("call_id", name=op.f("recordings_pkey")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "recordings_due_idx",
        "recordings",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('scheduled', 'downloading')"),
    )
    op.create_index(op.f("recordings_state_call_id_idx"), "recordings", ["state", "call_id"], unique=False)
    op.create_table(
        "tariffs",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("tariffs_pkey")),
        sa.UniqueConstraint("name", name=op.f("tariffs_name_key")),
    )
    op.create_table(
        "uncharged",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("uncharged_pkey")),
    )
    op.create_table(
        "tariff_versions",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("tariff_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("rounding", sa.Text(), nullable=False),
        sa.Column("decimals", sa.SmallInteger(), nullable=False),
        sa.Column("billable_dispositions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("loaded_by", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tariff_id"], ["tariffs.id"], name=op.f("tariff_versions_tariff_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("tariff_versions_pkey")),
        sa.UniqueConstraint("tariff_id", "version", name=op.f("tariff_versions_tariff_id_version_key")),
    )
    op.create_table(
        "rates",
        sa.Column("tariff_version_id", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("rate_per_minute", sa.Numeric(), nullable=False),
        sa.Column("connect_fee", sa.Numeric(), nullable=False),
        sa.Column("first_increment", sa.Integer(), nullable=False),
        sa.Column("next_increment", sa.Integer(), nullable=False),
        sa.Column("minimum_charge", sa.Numeric(), nullable=True),
        sa.Column("maximum_charge", sa.Numeric(), nullable=True),
        sa.Column("minimum_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("free_below_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt_fee", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("time_from", sa.Time(), nullable=True),
        sa.Column("time_to", sa.Time(), nullable=True),
        sa.Column("weekdays", sa.ARRAY(sa.SmallInteger()), nullable=True),
        sa.ForeignKeyConstraint(
            ["tariff_version_id"], ["tariff_versions.id"], name=op.f("rates_tariff_version_id_fkey")
        ),
        sa.PrimaryKeyConstraint("tariff_version_id", "line", name=op.f("rates_pkey")),
    )

    op.execute(LEDGER_GUARD)


def downgrade() -> None:
    op.drop_table("rates")
    op.drop_table("tariff_versions")
    op.drop_table("uncharged")
    op.drop_table("tariffs")
    op.drop_index(op.f("recordings_state_call_id_idx"), table_name="recordings")
    op.drop_index(
        "recordings_due_idx",
        table_name="recordings",
        postgresql_where=sa.text("state IN ('scheduled', 'downloading')"),
    )
    op.drop_table("recordings")
    op.drop_table("ledger")
    op.execute("DROP FUNCTION ledger_is_append_only")
    op.drop_table("inbox")
    op.drop_index(
        "failures_waiting_idx",
        table_name="failures",
        postgresql_where=sa.text("state IN ('open', 'retrying')"),
    )
    op.drop_index(
        "failures_retry_idx",
        table_name="failures",
        postgresql_where=sa.text("state = 'open' AND retry_at IS NOT NULL"),
    )
    op.drop_table("failures")
    op.drop_table("edits")
    op.drop_index(op.f("duplicates_call_id_idx"), table_name="duplicates")
    op.drop_table("duplicates")
    op.drop_table("dispositions")
    op.drop_table("calls")
    op.drop_index("batches_unfinished_idx", table_name="batches", postgresql_where=sa.text("finished_at IS NULL"))
    op.drop_index(op.f("batches_source_received_at_idx"), table_name="batches")
    op.drop_table("batches")
    op.drop_index(op.f("actions_record_id_idx"), table_name="actions")
    op.drop_table("actions")
