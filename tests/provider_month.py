"""A month of a provider: calls, what they should cost, and a file of it in which every class of difference is seeded.

Each line's `reference` says what it is: its class, and the id of the call that it is about. Calls to one number are
40 seconds or a day apart, up to three of them; the first one of a number may be one of the seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from pipeline.record_ids import PLACES

if TYPE_CHECKING:
    from sqlalchemy import Engine

PROVIDER = "acme"
SINCE, UNTIL = "2026-11-01 00:00+00", "2026-12-01 00:00+00"
CALLS_A_NUMBER = 2.5

_BILLABLE = "(CASE WHEN {s} <= 30 THEN 30 ELSE 30 + ceil(({s} - 30) / 6.0) * 6 END)::int"
"""Increments of 30 and 6 seconds, at 0.60 a minute: a cent a second."""

MADE = f"""
CREATE UNLOGGED TABLE made AS
SELECT n, n + {PLACES} AS id, k, j, kind,
       '+27' || 600000000 + k AS number,
       CASE WHEN kind IN ('not due', 'answered there only') THEN 0
            WHEN j = 0 THEN 32 + 6 * (k % 5) ELSE 1 + (k * 31 + j) % 300 END AS s,
       cast('{SINCE}' AS timestamptz) + interval '3 hours'
           + interval '1 second' * (abs(hashint8(k)::bigint) % (21 * 86400))
           + interval '1 second' * j * CASE WHEN k % 2 = 0 THEN 40 ELSE 86400 END AS at
FROM (SELECT n, n % :numbers AS k, n / :numbers AS j,
             CASE WHEN n / :numbers > 0 THEN 'equal' ELSE
                 (array['equal', 'seconds', 'rate', 'missing there', 'duplicate there', 'rounding',
                        'answered there only', 'weak', 'currency', 'not due', 'missing here',
                        'outside the period', 'missing here, elsewhere'])[1 + CASE WHEN n % :numbers % 100 <= 12
                        THEN n % :numbers % 100 ELSE 0 END] END AS kind
      FROM generate_series(0, :calls - 1) AS n) AS counted
"""

OURS = [
    """INSERT INTO tariffs (name, side, provider) VALUES ('acme', 'provider', :provider)""",
    """INSERT INTO tariff_versions (tariff_id, version, currency, rounding, decimals, billable_dispositions, timezone,
                                    file_name, file_sha256, loaded_by)
       SELECT id, 1, 'ZAR', 'half_up', 2, '{answered}', 'UTC', 'acme.csv', '\\x00', 'test' FROM tariffs
       WHERE name = 'acme'""",
    """INSERT INTO rates (tariff_version_id, line, prefix, rate_per_minute, connect_fee, first_increment,
                          next_increment)
       SELECT id, 2, '27', 0.60, 0, 30, 6 FROM tariff_versions""",
    """INSERT INTO provider_assignments (tariff_id, assigned_by) SELECT id, 'test' FROM tariffs""",
    """INSERT INTO calls (id, source, call_ref, campaign_ref, client_number, client_number_is_e164, dial_number,
                          dial_number_is_e164, direction, dialed_at, talk_seconds, end_reason, recording_url_sent,
                          content_hash)
       SELECT id, 'enigma', 'c' || n, 'campaign001', number, true, '+27123456789', true, 'outbound', at, s, 'hungup',
              false, '\\x00' FROM made ORDER BY n""",
    """INSERT INTO dispositions (call_id, disposition, uncertain, why, person_reached, contact_done, can_be_billed,
                                 can_have_audio)
       SELECT id, CASE WHEN s > 0 THEN 'answered' ELSE 'no_answer' END, false, '', s > 0, s > 0, s > 0, s > 0
       FROM made""",
    f"""INSERT INTO ledger (call_id, kind, revision, side, tariff_version_id, rate_line, prefix, rate_per_minute,
                            connect_fee, talk_seconds, rated_seconds, billable_seconds, unrounded, amount, currency,
                            reason)
        SELECT made.id, 'charge', 1, 'provider', v.id, 2, '27', 0.60, 0, s, s, {_BILLABLE.format(s="s")},
               {_BILLABLE.format(s="s")} * 0.01, {_BILLABLE.format(s="s")} * 0.01, 'ZAR', 'rated'
        FROM made, tariff_versions AS v WHERE s > 0""",
    """INSERT INTO uncharged (call_id, side, reason)
       SELECT id, 'provider', 'a call that ended as no_answer is not billed' FROM made WHERE s = 0""",
]

_LINE = """
SELECT f.id, row_number() OVER (ORDER BY at, l.id, again), number,
       at + interval '1 second' * (:shift + l.id % 3 - 1), s, amount, currency, kind || '@' || l.id, ''
FROM provider_files AS f, ({lines}) AS l
"""

THEIRS = [
    """INSERT INTO provider_files (provider, sha256, name, mapping_id, since, until, zone, lines, read_lines, bad_lines,
                                   skipped_lines, seconds, money, state, loaded_by)
       VALUES (:provider, '0102', 'acme-2026-11.csv', 1, :since, :until, 'UTC', 0, 0, 0, 0, 0, '{}', 'loaded',
               'test')""",
    "INSERT INTO provider_lines (file_id, line, number, started_at, seconds, amount, currency, reference, raw)"
    + _LINE.format(
        lines=f"""
        SELECT made.id, 0 AS again, number, kind, at + CASE kind WHEN 'weak' THEN interval '2 hours'
                                                       ELSE interval '0' END AS at, t.s,
               {_BILLABLE.format(s="t.s")} * CASE kind WHEN 'rate' THEN 0.10 ELSE 0.01 END AS amount,
               CASE kind WHEN 'currency' THEN 'USD' ELSE 'ZAR' END AS currency
        FROM made, LATERAL (SELECT s + CASE kind WHEN 'seconds' THEN 7 WHEN 'rounding' THEN 1
                                                 WHEN 'answered there only' THEN 20 ELSE 0 END AS s) AS t
        WHERE kind NOT IN ('missing there', 'not due')
        UNION ALL
        SELECT id, 1, number, 'again', at, s, {_BILLABLE.format(s="s")} * 0.01, 'ZAR' FROM made
        WHERE kind = 'duplicate there'
        UNION ALL
        SELECT id, 1, CASE kind WHEN 'missing here' THEN number ELSE '+2787' || 1000000 + k END, 'missing',
               at + interval '5 days 1 hour', 50, 0.54, 'ZAR' FROM made WHERE kind LIKE 'missing here%'
        UNION ALL
        SELECT id, 1, number, 'outside', cast(:until AS timestamptz) + interval '1 hour', 60, 0.60, 'ZAR' FROM made
        WHERE kind = 'outside the period'"""
    ),
    """INSERT INTO provider_bad_lines (file_id, line, raw, reason)
       SELECT f.id, 100000000 + n, 'x', 'amount: must be a number' FROM provider_files AS f,
              generate_series(1, greatest(1, :calls / 1000)) AS n""",
    """UPDATE provider_files AS f SET lines = read + bad, read_lines = read, bad_lines = bad
       FROM (SELECT count(*) AS read FROM provider_lines) AS r,
            (SELECT count(*) AS bad FROM provider_bad_lines) AS b""",
]

# What a line should be: an extra one is of no call, a duplicate is either of the two.
WRONG = """
SELECT count(*) FROM reconcile_items AS i FULL JOIN provider_lines AS l ON l.id = i.line_id
LEFT JOIN made AS m ON m.id = split_part(l.reference, '@', 2)::bigint
WHERE (i.line_id IS NOT NULL OR l.id IS NOT NULL) AND NOT coalesce(CASE
    WHEN split_part(l.reference, '@', 1) IN ('missing', 'outside')
        THEN i.call_id IS NULL
         AND i.item_class = CASE split_part(l.reference, '@', 1) WHEN 'missing' THEN 'missing here'
                                                                 ELSE 'outside the period' END
    WHEN m.kind = 'duplicate there'
        THEN (i.item_class = 'equal' AND i.call_id = m.id) OR (i.item_class = 'duplicate there' AND i.call_id IS NULL)
    ELSE i.call_id = m.id AND i.item_class = CASE WHEN m.kind LIKE 'missing here%' OR m.kind = 'outside the period'
                                                  THEN 'equal' ELSE m.kind END END, false)
"""
WRONG_CALLS = """
SELECT count(*) FROM made AS m LEFT JOIN reconcile_items AS i ON i.call_id = m.id
WHERE (m.kind = 'missing there') <> coalesce(i.item_class = 'missing there', false)
   OR (m.kind = 'not due') <> coalesce(i.item_class = 'equal' AND i.line_id IS NULL, false)
   OR i.item IS NULL
"""


def fill(engine: Engine, calls: int, *, shift: int = 2 * 3600 + 3) -> None:
    """Make a month.

    Args:
        engine: an empty database.
        calls: how many of ours; about as many lines.
        shift: by how many seconds the provider's clock is ahead of ours.
    """
    values = {
        "calls": calls,
        "numbers": int(calls / CALLS_A_NUMBER) // 100 * 100,
        "provider": PROVIDER,
        "since": SINCE,
        "until": UNTIL,
        "shift": shift,
    }
    for statement in [MADE, *OURS, *THEIRS]:
        with engine.begin() as connection:
            connection.execute(text(statement), {name: v for name, v in values.items() if f":{name}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def wrong(engine: Engine) -> int:
    """How many lines and calls are not in the class they were made for, or are matched with another's."""
    with engine.connect() as connection:
        return sum(int(connection.scalar(text(query)) or 0) for query in (WRONG, WRONG_CALLS))
