"""The provider's side in the one ledger: its tariffs, their assignments, and numbers ported between networks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

SIDES = "'client', 'provider'"

# Code of the version before names no side, so what it writes is the client's, and it finds nothing else there before
# somebody assigns a provider's tariff. A constant default is not written into the rows that are there.
SIDED = ("ledger", "uncharged")
KEYS = {
    "ledger": ("call_id, side, kind, revision", "INCLUDE (currency, amount)"),
    "uncharged": ("call_id, side", ""),
}
OLD_KEYS = {
    "ledger": ("call_id, kind, revision", "INCLUDE (currency, amount)"),
    "uncharged": ("call_id", ""),
}

TARIFFS = f"""
ALTER TABLE tariffs
    ADD COLUMN side TEXT DEFAULT 'client' NOT NULL CONSTRAINT tariffs_side_check CHECK (side IN ({SIDES})),
    ADD COLUMN provider TEXT CONSTRAINT tariffs_provider_check
        CHECK ((side = 'provider') = (provider IS NOT NULL));
ALTER TABLE tariff_versions DROP CONSTRAINT tariff_versions_duration_basis_check,
    ADD CONSTRAINT tariff_versions_duration_basis_check
        CHECK (duration_basis IN ('call_time', 'call_time+hold_time', 'answered'));
ALTER TABLE rates ADD COLUMN network TEXT;
CREATE TABLE provider_assignments (
    dial_number TEXT DEFAULT '' NOT NULL CONSTRAINT provider_assignments_dial_number_check
        CHECK (dial_number = '' OR (campaign_ref = '' AND source = '')),
    campaign_ref TEXT DEFAULT '' NOT NULL,
    source TEXT DEFAULT '' NOT NULL,
    tariff_id INTEGER NOT NULL,
    assigned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    assigned_by TEXT NOT NULL,
    CONSTRAINT provider_assignments_pkey PRIMARY KEY (dial_number, campaign_ref, source),
    CONSTRAINT provider_assignments_tariff_id_fkey FOREIGN KEY (tariff_id) REFERENCES tariffs (id)
);
CREATE TABLE ported_numbers (
    number TEXT COLLATE "C" NOT NULL,
    network TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE CONSTRAINT ported_numbers_valid_to_check CHECK (valid_to > valid_from),
    CONSTRAINT ported_numbers_pkey PRIMARY KEY (number, valid_from)
);
"""

# A line follows from one of its own side: a charge of the provider's neither allows nor forbids one of the client's.
GUARD = """
CREATE OR REPLACE FUNCTION ledger_line_follows() RETURNS trigger
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF NEW.kind = 'charge' THEN
        IF NOT EXISTS (SELECT FROM ledger WHERE call_id = NEW.call_id AND side = NEW.side AND kind = 'reversal'
                       AND revision = NEW.revision - 1) THEN
            RAISE EXCEPTION 'charge % of call % follows no reversal: the one before is in force, or is none',
                NEW.revision, NEW.call_id USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RAISE EXCEPTION 'charge % of call % may not be taken back by %', NEW.revision, NEW.call_id, current_user
            USING ERRCODE = 'insufficient_privilege';
    ELSIF NOT EXISTS (
        SELECT FROM ledger AS charge
        WHERE charge.call_id = NEW.call_id AND charge.side = NEW.side AND charge.kind = 'charge'
          AND charge.revision = NEW.revision
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
"""

FUNCTIONS = {
    "accept_conflict(bigint,text)": ("of_call", "format('record %s accepted by %s', accepted.record_id, who)", ""),
    "replace_pulled(bigint,jsonb)": (
        "stored.id",
        "format('record %s arrived, the call had been pulled', real_record)",
        "ledger.",
    ),
}
"""What replaces a call takes back the last charge of each side, as its seconds may be others: the call, the reason
that the line has, and how ``kind`` is written there."""


def _changes(call: str, reason: str, of: str) -> dict[str, str]:
    order = "ledger.revision DESC, kind DESC" if not of else "revision DESC, ledger.kind DESC"
    return {
        "currency, kind, unrounded, amount, reason)": "currency, kind, unrounded, amount, reason, side)",
        reason: f"{reason}, side",
        f"(SELECT * FROM ledger WHERE call_id = {call} ORDER BY {order} LIMIT 1)": (
            f"(SELECT DISTINCT ON (ledger.side) * FROM ledger WHERE call_id = {call} "
            "ORDER BY ledger.side, ledger.revision DESC, ledger.kind DESC)"
        ),
    }


def _replace_functions(*, back: bool = False) -> None:
    for function, (call, reason, of) in FUNCTIONS.items():
        define = op.get_bind().scalar(sa.text(f"SELECT pg_get_functiondef('{function}'::regprocedure)"))
        for old, new in _changes(call, reason, of).items():
            before, after = (new, old) if back else (old, new)
            assert before in define, (function, before)
            define = define.replace(before, after)
        op.get_bind().exec_driver_sql(define.replace("%", "%%"))


def upgrade() -> None:
    # Each statement is a transaction of its own, so that no two tables are locked at once, and each may have been done
    # by a run that was cut off. What locks a table for all others takes a moment once it has the lock.
    with op.get_context().autocommit_block():
        for table in SIDED:
            op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS side TEXT DEFAULT 'client' NOT NULL")
            check = f"{table}_side_check"
            op.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}, "
                f"ADD CONSTRAINT {check} CHECK (side IN ({SIDES})) NOT VALID"
            )
        op.execute("SET lock_timeout = '30min'")  # nobody waits for what follows
        for table in SIDED:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_side_check")
        for table, (columns, more) in KEYS.items():
            _change_key(table, columns, more)
        op.execute("SET lock_timeout = '5s'")
    op.execute(TARIFFS)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.get_bind().exec_driver_sql(GUARD.format(schema=schema).replace("%", "%%"))
    _replace_functions()


KEY = """
SELECT string_agg(attname, ', ' ORDER BY place) FROM pg_index
CROSS JOIN LATERAL unnest(indkey[0:indnkeyatts - 1]) WITH ORDINALITY AS key (attnum, place)
JOIN pg_attribute AS a ON a.attrelid = indrelid AND a.attnum = key.attnum
WHERE indrelid = to_regclass(:table) AND indisprimary
"""


def _change_key(table: str, columns: str, more: str) -> None:
    """Another primary key: its index is made while everybody works, and takes the place of the old one at a stroke."""
    if op.get_bind().scalar(sa.text(KEY), {"table": table}) == columns:
        return
    made = f"{table}_key_to_be"
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {made}")  # what an upgrade that was cut off has left
    op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {made} ON {table} ({columns}) {more}")
    op.execute("SET lock_timeout = '5s'")
    op.execute(
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD CONSTRAINT {table}_pkey PRIMARY KEY USING INDEX {made}"
    )
    op.execute("SET lock_timeout = '30min'")


def downgrade() -> None:
    held = op.get_bind().scalar(sa.text("SELECT count(*) FROM ledger WHERE side = 'provider'"))
    if held:
        # Lines are never deleted, and the version before would take them for the client's.
        raise RuntimeError(
            f"the ledger holds {held} lines of the provider's side, which the version before cannot keep"
        )
    _replace_functions(back=True)
    op.execute("DELETE FROM uncharged WHERE side = 'provider'")
    with op.get_context().autocommit_block():
        for table, (columns, more) in OLD_KEYS.items():
            _change_key(table, columns, more)
        op.execute("SET lock_timeout = '5s'")
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    guard = GUARD.replace(" AND side = NEW.side", "").replace(" AND charge.side = NEW.side", "")
    op.get_bind().exec_driver_sql(guard.format(schema=schema).replace("%", "%%"))
    for table in SIDED:
        op.execute(f"ALTER TABLE {table} DROP COLUMN side")
    op.drop_table("ported_numbers")
    op.drop_table("provider_assignments")
    op.execute("ALTER TABLE rates DROP COLUMN network")
    op.execute(
        "DELETE FROM rates WHERE tariff_version_id IN (SELECT id FROM tariff_versions WHERE tariff_id IN "
        "(SELECT id FROM tariffs WHERE side = 'provider'))"
    )
    op.execute("DELETE FROM tariff_versions WHERE tariff_id IN (SELECT id FROM tariffs WHERE side = 'provider')")
    op.execute("DELETE FROM tariffs WHERE side = 'provider'")
    op.execute("ALTER TABLE tariffs DROP COLUMN provider, DROP COLUMN side")
    op.execute(
        "ALTER TABLE tariff_versions DROP CONSTRAINT tariff_versions_duration_basis_check, "
        "ADD CONSTRAINT tariff_versions_duration_basis_check "
        "CHECK (duration_basis IN ('call_time', 'call_time+hold_time'))"
    )
