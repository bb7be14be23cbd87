"""Tables of records as ranges, a month each; the keys of calls in one table, over all time"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

KEYS = 8
TABLES = {
    "inbox": "record_id",
    "calls": "id",
    "duplicates": "record_id",
    "dispositions": "call_id",
    "uncharged": "call_id",
    "recordings": "call_id",
    "ledger": "call_id",
}
MONTH = 43
"""The bits of a record id below its month, counted from January 2020: 27 of batches and 16 of their records."""
AHEAD = 1

KEYS_OF_CALLS = """
CREATE TABLE call_keys (
    call_ref TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    record_id BIGINT NOT NULL,
    CONSTRAINT call_keys_pkey PRIMARY KEY (call_ref, source)
) PARTITION BY HASH (call_ref, source);
"""

# The step of this version enters the keys itself, all those of a batch at once, and says so. For all others this does:
# the version before, or a hand. Who asked for no mercy (COPY) must not believe that a call is stored that is not.
FOR_OTHERS = """
CREATE FUNCTION call_key_is_entered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = {schema}, pg_temp AS $$
BEGIN
    INSERT INTO call_keys (call_ref, source, record_id) VALUES (NEW.call_ref, NEW.source, NEW.id)
    ON CONFLICT DO NOTHING;
    IF FOUND OR EXISTS (SELECT FROM call_keys
                        WHERE call_ref = NEW.call_ref AND source = NEW.source AND record_id = NEW.id) THEN
        RETURN NEW;
    ELSIF position('ON CONFLICT' IN current_query()) > 0 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the call % of % is stored already', NEW.call_ref, NEW.source USING ERRCODE = 'unique_violation';
END
$$;
REVOKE ALL ON FUNCTION call_key_is_entered() FROM PUBLIC;
CREATE TRIGGER call_key_is_entered BEFORE INSERT ON calls FOR EACH ROW
    WHEN (current_setting('cdr.enters_keys', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION call_key_is_entered();
"""

RANGES = """
CREATE TABLE ranges (
    name TEXT NOT NULL,
    first_record BIGINT NOT NULL,
    end_record BIGINT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE,
    drop_began_at TIMESTAMP WITH TIME ZONE,
    dropped_at TIMESTAMP WITH TIME ZONE,
    dropped_by TEXT,
    because TEXT,
    trouble TEXT,
    sums JSONB,
    CONSTRAINT ranges_pkey PRIMARY KEY (name),
    CONSTRAINT ranges_first_record_key UNIQUE (first_record)
);
"""

# Of the table as it is: what it has, the partitioned one gets, under the same names; the table itself becomes its first
# range, and nothing is written. Where a check says already that every key is below `bound`, nothing is read either.
BECOME = """
CREATE FUNCTION become_ranges(relation name, key name, bound bigint) RETURNS void LANGUAGE plpgsql
    SET search_path = {schema}, pg_temp AS $$
DECLARE
    first CONSTANT name := relation || '_first';
    below CONSTANT name := relation || '_first_range';
    whole regclass; made text[]; triggers text[]; rights text[]; statement text; found record;
BEGIN
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', relation);
    whole := format('%I', relation)::regclass;
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = whole AND conname = below AND convalidated) THEN
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (%I < %s)', relation, below, key, bound);
    END IF;
    -- What no two calls may share is entered in call_keys: beside that, each range has a key of its own.
    made := ARRAY(
        SELECT CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
                    ELSE format('ALTER TABLE %I ADD CONSTRAINT %I %s', relation, c.conname, pg_get_constraintdef(c.oid))
               END
        FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.conrelid = whole
        WHERE i.indrelid = whole AND (i.indisprimary OR NOT i.indisunique));
    triggers := ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = whole AND NOT tgisinternal);
    rights := ARRAY(
        SELECT format('GRANT %s ON %I TO %s%s', may.privilege_type, relation,
                      CASE WHEN may.grantee = 0 THEN 'PUBLIC' ELSE may.grantee::regrole::text END,
                      CASE WHEN may.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_class, aclexplode(relacl) AS may WHERE oid = whole AND may.grantee <> relowner
        UNION ALL
        SELECT format('GRANT %s (%I) ON %I TO %s%s', may.privilege_type, attname, relation,
                      CASE WHEN may.grantee = 0 THEN 'PUBLIC' ELSE may.grantee::regrole::text END,
                      CASE WHEN may.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_attribute, aclexplode(attacl) AS may WHERE attrelid = whole AND attnum > 0 AND NOT attisdropped);
    FOR found IN SELECT indexrelid::regclass AS id, relname FROM pg_index JOIN pg_class ON oid = indexrelid
                 WHERE indrelid = whole LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', found.id,
                       overlay(found.relname::text PLACING first FROM 1 FOR length(relation)));
    END LOOP;
    -- Those on rows are made for each range out of the whole's.
    FOR found IN SELECT tgname FROM pg_trigger WHERE tgrelid = whole AND NOT tgisinternal AND (tgtype & 1) = 1 LOOP
        EXECUTE format('DROP TRIGGER %I ON %I', found.tgname, relation);
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', relation, first);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) '
                   'PARTITION BY RANGE (%I)', relation, first, key);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', relation, below);
    FOREACH statement IN ARRAY made || triggers || rights LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%s)', relation, first, bound);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', first, below);
END
$$;
REVOKE ALL ON FUNCTION become_ranges(name, name, bigint) FROM PUBLIC;
"""

# A range of one table: beside it first, so that whoever reads or writes the table waits for nothing.
MAKE_ONE = """
CREATE FUNCTION make_range(relation name, part name, first_record bigint, end_record bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    options text;
BEGIN
    IF to_regclass(format('%I', part)) IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT array_to_string(reloptions, ', ') INTO options FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = format('%I', relation)::regclass AND reloptions IS NOT NULL LIMIT 1;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)%s', part, relation, ' WITH (' || options || ')');
    IF relation = 'calls' THEN
        EXECUTE format('ALTER TABLE %I ADD UNIQUE (call_ref, source)', part);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', relation, part,
                   CASE WHEN first_record = 0 THEN 'MINVALUE' ELSE first_record::text END, end_record);
END
$$;
REVOKE ALL ON FUNCTION make_range(name, name, bigint, bigint) FROM PUBLIC;
"""

# Those of the months to come. Batches of a month are numbered from its first number on, once its ranges are there.
MAKE = """
CREATE FUNCTION make_ranges(ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = {schema}, pg_temp AS $$
DECLARE
    present CONSTANT bigint := (extract(year FROM now() AT TIME ZONE 'UTC')::bigint - 2020) * 12
        + extract(month FROM now() AT TIME ZONE 'UTC')::bigint - 1;
    numbers CONSTANT text := pg_get_serial_sequence('batches', 'id');
    made integer := 0;
    last_batch bigint; range record; relation name;
BEGIN
    LOCK TABLE ranges IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pg_class WHERE oid IN ({regclasses}) AND relkind <> 'p') THEN
        RETURN 0;
    END IF;
    EXECUTE 'SELECT last_value FROM ' || numbers INTO last_batch;
    FOR month IN (SELECT max(end_record) >> {month} FROM ranges)
                 .. greatest(present, last_batch >> {month} - 16) + least(ahead, 24) LOOP
        INSERT INTO ranges (name, first_record, end_record)
        VALUES (to_char(make_date(2020 + (month / 12)::integer, (month % 12)::integer + 1, 1), 'YYYY-MM'),
                month::bigint << {month}, month::bigint + 1 << {month}) RETURNING * INTO range;
        FOREACH relation IN ARRAY ARRAY[{names}]::name[] LOOP
            PERFORM make_range(relation, relation || '_' || replace(range.name, '-', '_'),
                               range.first_record, range.end_record);
        END LOOP;
        made := made + 1;
    END LOOP;
    IF last_batch < present << {month} - 16 AND EXISTS (SELECT FROM ranges WHERE first_record = present << {month}) THEN
        UPDATE ranges SET began_at = now() WHERE first_record = present << {month};
        PERFORM setval(numbers, present << {month} - 16, false);
    END IF;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION make_ranges(integer) FROM PUBLIC;
"""

# Only the first range is there, or others that have nothing yet: what these have goes back to it.
AS_BEFORE = """
DO $$
DECLARE
    relation name; first name; part regclass; found record; triggers text[]; statement text;
BEGIN
    FOREACH relation IN ARRAY ARRAY[{names}]::name[] LOOP
        CONTINUE WHEN (SELECT relkind FROM pg_class WHERE oid = format('%I', relation)::regclass) <> 'p';
        first := relation || '_first';
        IF to_regclass(format('%I', first)) IS NULL THEN
            RAISE EXCEPTION 'the first range was dropped: there is no way back to tables without ranges';
        END IF;
        triggers := ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger
                          WHERE tgrelid = format('%I', relation)::regclass AND NOT tgisinternal AND (tgtype & 1) = 1);
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', relation, first);
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', first, relation);
        EXECUTE format('DROP TABLE %I', relation);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', first, relation);
        FOR found IN SELECT indexrelid::regclass AS id, relname FROM pg_index JOIN pg_class ON oid = indexrelid
                     WHERE indrelid = format('%I', relation)::regclass LOOP
            EXECUTE format('ALTER INDEX %s RENAME TO %I', found.id,
                           overlay(found.relname::text PLACING relation FROM 1 FOR length(first)));
        END LOOP;
        FOREACH statement IN ARRAY triggers LOOP
            EXECUTE statement;
        END LOOP;
    END LOOP;
END
$$;
DROP TRIGGER call_key_is_entered ON calls;
DROP FUNCTION call_key_is_entered();
DROP FUNCTION make_ranges(integer);
DROP FUNCTION make_range(name, name, bigint, bigint);
DROP FUNCTION become_ranges(name, name, bigint);
DROP TABLE ranges, call_keys;
"""


def _run(statements: str) -> None:
    names = ", ".join(f"'{name}'" for name in TABLES)
    values = {
        "schema": op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())")),
        "month": str(MONTH),
        "names": names,
        "regclasses": ", ".join(f"'{name}'::regclass" for name in TABLES),
    }
    for name, value in values.items():
        statements = statements.replace(f"{{{name}}}", value)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def upgrade() -> None:
    op.execute(KEYS_OF_CALLS)
    for number in range(KEYS):
        values = f"FOR VALUES WITH (MODULUS {KEYS}, REMAINDER {number})"
        op.execute(f"CREATE TABLE call_keys_{number} PARTITION OF call_keys {values}")
    for statements in (FOR_OTHERS, RANGES, BECOME, MAKE_ONE, MAKE):
        _run(statements)
    # Where calls are already, their keys are entered and the tables moved by `pipeline keeping move`, while all runs.
    if not op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT FROM batches)")):
        _become()


def _become() -> None:
    """Nothing is here yet: the tables are ranges from the first record on."""
    bound = op.get_bind().scalar(
        sa.text(
            "INSERT INTO ranges (name, first_record, end_record) SELECT 'first', 0, "
            "((extract(year FROM today)::bigint - 2020) * 12 + extract(month FROM today)::bigint) << :month "
            "FROM (SELECT now() AT TIME ZONE 'UTC' AS today) AS clock RETURNING end_record"
        ),
        {"month": MONTH},
    )
    for relation, key in TABLES.items():
        op.get_bind().execute(
            sa.text("SELECT become_ranges(:relation, :key, :bound)"),
            {"relation": relation, "key": key, "bound": bound},
        )
    op.get_bind().execute(sa.text("SELECT make_ranges(:ahead)"), {"ahead": AHEAD})


def downgrade() -> None:
    _run(AS_BEFORE)
