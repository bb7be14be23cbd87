"""The migration to two sides: what clients were charged is the same to the last digit, and old code goes on."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from pipeline.balance.sheet import balance_sheet
from pipeline.billing.billed_calls import Selection
from pipeline.billing.itemised import itemised
from pipeline.billing.rules.months import month_in
from pipeline.billing.statements import GroupBy, charges_by, totals
from pipeline.database.migrations import alembic_config, upgrade

BEFORE = "0025"
MONTH = month_in("2026-11", "UTC")

# Rows as the version before wrote them: charges in two currencies, one that was corrected, one that was taken back.
FILL = """
INSERT INTO batches (claim, source, records, due_at, normalized_at, classified_at, billed_at, recordings_scheduled_at,
                     contacts_updated_at, finished_at)
SELECT gen_random_uuid(), 'enigma', 100, now(), now(), now(), now(), now(), now(), now();
INSERT INTO inbox (record_id, raw) SELECT id * 65536 + n, '\\x7b7d' FROM batches, generate_series(0, 99) AS n;
INSERT INTO calls (id, source, call_ref, campaign_ref, client_number_is_e164, dial_number_is_e164, direction,
                   dialed_at, talk_seconds, end_reason, recording_url_sent, content_hash)
SELECT record_id, 'enigma', record_id::text, 'c' || record_id % 3, true, true, 'outbound',
       '2026-11-02 08:00Z'::timestamptz + interval '1 hour' * (record_id % 65536),
       CASE WHEN record_id % 4 = 0 THEN 0 ELSE 1 + record_id % 65536 * 7 END, 'hungup', true, '\\x00' FROM inbox;
INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                          can_have_audio)
SELECT id, CASE WHEN talk_seconds > 0 THEN 'answered' ELSE 'busy' END, false, 'so', talk_seconds > 0, talk_seconds > 0,
       talk_seconds > 0, talk_seconds > 0 FROM calls;
INSERT INTO recordings (call_id, source, call_ref, state) SELECT id, source, call_ref, 'stored' FROM calls
WHERE talk_seconds > 0;
INSERT INTO tariffs (name) VALUES ('default');
INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, billable_dispositions, timezone,
                             file_name, file_sha256, loaded_by)
SELECT id, n, (ARRAY['ZAR', 'KWD'])[n], 'half_up', (ARRAY[2, 3])[n], '{answered}', 'UTC', 't.csv', '\\x00', 'me'
FROM tariffs, generate_series(1, 2) AS n;
INSERT INTO rates (tariff_version_id, line, prefix, rate_per_minute, connect_fee, first_increment, next_increment)
SELECT id, 2, '27', 0.6011, 0.2003, 1, 1 FROM tariff_versions;
INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                    talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
SELECT c.id, 'charge', 1, v.id, 2, '27', 0.6011, 0.2003, talk_seconds, talk_seconds, talk_seconds,
       0.2003 + 0.6011 * talk_seconds / 60, round(0.2003 + 0.6011 * talk_seconds / 60, v.decimals), v.currency, 'rated'
FROM calls AS c JOIN tariff_versions AS v ON v.version = 1 + c.id % 2 WHERE talk_seconds > 0;
INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                    talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
SELECT call_id, 'reversal', 1, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
       talk_seconds, rated_seconds, billable_seconds, -unrounded, -amount, currency, 'rerated'
FROM ledger WHERE call_id % 65536 IN (13, 17);
INSERT INTO ledger (call_id, kind, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
                    talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, reason)
SELECT call_id, 'charge', 2, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee,
       talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency, 'rated'
FROM ledger WHERE call_id % 65536 IN (13, 17) AND kind = 'charge';
INSERT INTO uncharged (call_id, reason) SELECT id, 'a call that ended as busy is not billed' FROM calls
WHERE talk_seconds = 0;
"""

LINES = (
    "SELECT call_id, kind, revision, amount::text, unrounded::text, currency, billable_seconds, reason, entered_at "
    "FROM ledger ORDER BY 1, 3, 2"
)
REASONS = "SELECT call_id, reason, decided_at FROM uncharged ORDER BY 1"
# As the statement and the balance of the version before add it up.
STATEMENT = """
SELECT c.campaign_ref, sum(CASE kind WHEN 'charge' THEN 1 ELSE -1 END)::int,
       sum(CASE kind WHEN 'charge' THEN billable_seconds ELSE -billable_seconds END)::int, sum(amount), currency
FROM ledger JOIN calls AS c ON c.id = call_id GROUP BY 1, 5 ORDER BY 1, 5
"""
SUMS = "SELECT currency, sum(amount) FROM ledger GROUP BY 1"


@pytest.fixture
def before(empty):
    """A database of the version before, with a month in it."""
    upgrade(empty, BEFORE)
    with empty.begin() as connection:
        connection.exec_driver_sql(FILL.replace("%", "%%"))
    return empty


def look(engine, *queries):
    with engine.connect() as connection:
        return [list(connection.execute(text(query)).all()) for query in queries]


def test_what_clients_are_charged_stays_to_the_last_digit(before):
    """Lines and reasons, the statement, the itemised list and the balance, before the migration and after it."""
    lines, reasons, statement, sums = look(before, LINES, REASONS, STATEMENT, SUMS)
    upgrade(before)
    assert look(before, LINES, REASONS) == [lines, reasons]
    assert {row[0] for row in look(before, "SELECT side FROM ledger UNION ALL SELECT side FROM uncharged")[0]} == {
        "client"
    }
    with before.connect() as connection:
        entries = charges_by(connection, MONTH, GroupBy.CAMPAIGN)
        items = list(itemised(connection, Selection(MONTH.since, MONTH.until)))
    assert [tuple(entry) for entry in entries] == [tuple(row) for row in statement]
    assert [str(item.amount) for item in items] == [
        row.amount for row in sorted(lines, key=lambda row: (row.call_id, row.revision, row.kind))
    ]
    with before.connect() as connection:
        sheet = balance_sheet(connection)
    assert sheet.closes, sheet.violations
    assert {currency: str(amount) for currency, amount in sheet.charged.items()} == {
        currency: str(amount) for currency, amount in map(tuple, sums)
    }
    assert {each.currency: str(each.amount) for each in totals(entries)} == {k: str(v) for k, v in map(tuple, sums)}
    assert sheet.provider is None


OF_OLD_CODE = (
    "INSERT INTO ledger (call_id, kind, revision, tariff_version_id, prefix, rate_per_minute, connect_fee, "
    "talk_seconds, billable_seconds, unrounded, amount, currency, reason{side}) "
    "VALUES (7, 'charge', 1, 1, '27', 1, 0, 60, 60, 1, 1, 'ZAR', 'rated'{value})"
)


def test_old_code_writes_the_clients_side_and_nobody_charges_twice(before):
    """A line without a side is the client's; the key allows one of each side, and no more."""
    upgrade(before)
    old = OF_OLD_CODE.format(side="", value="")
    with before.begin() as connection:
        connection.execute(text(old))
        connection.execute(text("INSERT INTO uncharged (call_id, reason) VALUES (9, 'x')"))
        connection.execute(text(OF_OLD_CODE.format(side=", side", value=", 'provider'")))
    for again in (
        old,
        OF_OLD_CODE.format(side=", side", value=", 'provider'"),
        "INSERT INTO uncharged VALUES (9, 'y')",
    ):
        with pytest.raises(IntegrityError, match="pkey"), before.begin() as connection:
            connection.execute(text(again))
    for foreign in ("'somebody'", "NULL"):
        with pytest.raises(IntegrityError), before.begin() as connection:
            connection.execute(text(OF_OLD_CODE.format(side=", side", value=f", {foreign}").replace("(7,", "(8,")))


def test_a_charge_follows_the_reversals_of_its_own_side(before):
    """A reversal of the client's allows no second charge of the provider's."""
    upgrade(before)
    second = OF_OLD_CODE.format(side=", side", value=", 'provider'").replace("'charge', 1", "'charge', 2")
    [[(corrected,)]] = look(before, "SELECT min(call_id) FROM ledger WHERE kind = 'reversal'")
    with pytest.raises(IntegrityError, match="follows no reversal"), before.begin() as connection:
        connection.execute(text(second.replace("VALUES (7", f"VALUES ({corrected}")))


def test_an_upgrade_that_was_cut_off_is_finished_by_another(before):
    """Each part may be there already: the column, the check, an index half made."""
    with before.begin() as connection:
        connection.execute(text("ALTER TABLE ledger ADD COLUMN side text NOT NULL DEFAULT 'client'"))
        connection.execute(text("CREATE INDEX ledger_key_to_be ON ledger (call_id)"))
    upgrade(before)
    key = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conname IN ('ledger_pkey', 'uncharged_pkey') ORDER BY conname"
    )
    assert [row[0] for row in look(before, key)[0]] == [
        "PRIMARY KEY (call_id, side, kind, revision) INCLUDE (currency, amount)",
        "PRIMARY KEY (call_id, side)",
    ]


def test_there_is_no_way_back_over_lines_of_the_provider(before):
    """The version before would take them for the client's."""
    upgrade(before)
    with before.begin() as connection:
        connection.execute(text(OF_OLD_CODE.format(side=", side", value=", 'provider'")))
    with pytest.raises(RuntimeError, match="1 lines of the provider's side"):
        command.downgrade(alembic_config(before), BEFORE)
