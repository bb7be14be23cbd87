"""The SQL of the balance sheet, in the order it runs; each statement builds on the temporary tables before it.

It stays SQL: it makes tables, reads every row there is, and what each statement costs was measured as it is written.

``id >> 16`` is the batch of a record (``record_ids.PLACES``). A checksum is the sum of a hash of each id: two
sets of ids of equal count and equal checksum are taken for equal.
"""

from __future__ import annotations

from typing import Any

from pipeline.balance import money
from pipeline.billing.ledger import sign_of
from pipeline.calls.rules.disposition import Disposition
from pipeline.database.narrowing import narrow_sql
from pipeline.database.ranges import is_dropped


def window(wanted: dict[str, Any], *, by_calls: bool = False) -> str:
    """The batches the sheet is about: of those all that are ``wanted`` by ``since``, ``until`` and ``source``.

    What is of a range that was dropped, or is being dropped, is in none: its sums were written down before.

    Args:
        wanted: a value, or None, for each.
        by_calls: whether ``since`` and ``until`` are about when a call of theirs was dialled.
    """
    which = narrow_sql(wanted, _OF_THE_WINDOW)
    if by_calls:
        which = narrow_sql(wanted | {"since": None, "until": None}, _OF_THE_WINDOW)
        if dialled := narrow_sql({name: wanted[name] for name in _DIALLED}, _DIALLED):
            which += f" AND id IN (SELECT id >> 16 FROM calls WHERE true{dialled})"
    return (
        "CREATE TEMPORARY TABLE balance_window ON COMMIT DROP AS "
        "SELECT id, records, finished_at IS NOT NULL AS finished, id << 16 AS first, (id << 16) + 65535 AS last "
        f"FROM batches WHERE NOT ({is_dropped('batches.id << 16')}){which}"
    )


def of_records() -> str:
    """The batches of the records from ``:first`` to ``:last``, whatever becomes of them."""
    return (
        "CREATE TEMPORARY TABLE balance_window ON COMMIT DROP AS "
        "SELECT id, records, finished_at IS NOT NULL AS finished, id << 16 AS first, (id << 16) + 65535 AS last "
        "FROM batches WHERE id BETWEEN cast(:first AS bigint) >> 16 AND cast(:last AS bigint) >> 16"
    )


_OF_THE_WINDOW = {
    "since": "received_at >= :since",
    "until": "received_at < :until",
    "source": "source = :source",
}
_DIALLED = {"since": "dialed_at >= :since", "until": "dialed_at < :until"}

BOUNDS = """
SELECT coalesce(min(first), 0) AS first, coalesce(max(last), -1) AS last FROM balance_window
"""
"""The first and last record id there could be in them; as values, by which the planner knows how much it reads, and
whether to read it in parallel."""

SET_ASIDE = """
CREATE TEMPORARY TABLE balance_aside ON COMMIT DROP AS
SELECT f.record_id, c.id IS NOT NULL AS is_call, coalesce(c.talk_seconds, 0) AS talk_seconds,
       CASE WHEN bool_or(f.state = 'open' AND f.step = 'normalize') THEN 'quarantined'
            WHEN bool_or(f.state = 'open') THEN 'failed'
            ELSE 'discarded' END AS place
FROM failures AS f LEFT JOIN calls AS c ON c.id = f.record_id
WHERE f.state IN ('open', 'discarded') AND f.record_id >> 16 IN (SELECT id FROM balance_window)
GROUP BY f.record_id, c.id, c.talk_seconds
"""
"""The records a step set aside and nobody has released; one row a record."""


def _sums(table: str, key: str, more: str = "", only: str = "") -> str:
    return (
        f"SELECT {key} >> 16 AS batch, count(*) AS n, sum(hashint8({key})) AS h{more} FROM {table} "
        f"WHERE {key} BETWEEN :first AND :last{only} GROUP BY 1"
    )


BATCHES = f"""
CREATE TEMPORARY TABLE balance_batches ON COMMIT DROP AS
SELECT w.id, w.first, w.last, w.records, w.finished,
       coalesce(i.n, 0) AS received, coalesce(c.n, 0) AS calls, coalesce(c.seconds, 0) AS seconds,
       coalesce(d.n, 0) + coalesce(v.n, 0) AS duplicates, coalesce(d.n, 0) + coalesce(v.n, 0) > 0 AS repeats,
       coalesce(l.reversals, false) AS corrected, coalesce(l.unusual, false) AS unusual,
       coalesce(l.unpaid, 0) = 0
         AND coalesce(c.with_seconds, 0) = coalesce(l.with_seconds, 0) + coalesce(u.h, 0)
         AND coalesce(p.answered_h, 0) = coalesce(l.rated_h, 0) + coalesce(u.excused_h, 0) AS paid,
       w.finished AND w.records = coalesce(i.n, 0)
         AND coalesce(i.n, 0) = coalesce(c.n, 0) + coalesce(d.n, 0) + coalesce(v.n, 0) + coalesce(a.n, 0)
         AND coalesce(i.h, 0) = coalesce(c.h, 0) + coalesce(d.h, 0) + coalesce(v.h, 0) + coalesce(a.h, 0)
         AND coalesce(a.calls, 0) = 0
         AND coalesce(c.n, 0) = coalesce(p.n, 0) AND coalesce(c.h, 0) = coalesce(p.h, 0)
         AND coalesce(c.n, 0) = coalesce(l.n, 0) + coalesce(u.n, 0)
         AND coalesce(c.h, 0) = coalesce(l.h, 0) + coalesce(u.h, 0)
         AND coalesce(p.audio_n, 0) = coalesce(r.n, 0) AND coalesce(p.audio_h, 0) = coalesce(r.h, 0) AS in_order
FROM balance_window AS w
LEFT JOIN ({_sums("inbox", "record_id")}) AS i ON i.batch = w.id
LEFT JOIN ({
    _sums("calls", "id", f", sum(talk_seconds) AS seconds, sum({money.with_seconds('id')}) AS with_seconds")
}) AS c ON c.batch = w.id
LEFT JOIN ({_sums("duplicates", "record_id")}) AS d ON d.batch = w.id
LEFT JOIN ({_sums("revisions", "record_id")}) AS v ON v.batch = w.id
LEFT JOIN ({_sums("balance_aside", "record_id", ", count(*) FILTER (WHERE is_call) AS calls")}) AS a ON a.batch = w.id
LEFT JOIN ({
    _sums(
        "dispositions",
        "call_id",
        ", count(*) FILTER (WHERE can_have_audio) AS audio_n"
        ", sum(CASE WHEN can_have_audio THEN hashint8(call_id) END) AS audio_h"
        f", sum(CASE WHEN disposition = '{Disposition.ANSWERED}' THEN hashint8(call_id) END) AS answered_h",
    )
}) AS p ON p.batch = w.id
LEFT JOIN ({money.LEDGER_NET}) AS l ON l.batch = w.id
LEFT JOIN ({
    _sums(
        "uncharged",
        "call_id",
        f", sum(CASE WHEN reason IN ({money.EXCUSES}) THEN hashint8(call_id) END) AS excused_h",
        " AND side = 'client'",
    )
}) AS u ON u.batch = w.id
LEFT JOIN ({_sums("recordings", "call_id")}) AS r ON r.batch = w.id
"""
"""Each batch with its counts, and whether they agree: those of its records and calls (``in_order``), and those of what
its calls come to (``paid``)."""

CLOSER_LOOK = (
    """
    CREATE TEMPORARY TABLE balance_unclear ON COMMIT DROP AS
    SELECT id, first, last, finished FROM balance_batches WHERE NOT in_order
    """,
    "ANALYZE balance_batches, balance_unclear, balance_aside",
    # A call that lacks something it is owed. Its charge is in force when it was charged once more than reversed.
    f"""
    CREATE TEMPORARY TABLE balance_undone ON COMMIT DROP AS
    SELECT c.id, c.talk_seconds, b.finished
    FROM balance_unclear AS b
    JOIN calls AS c ON c.id BETWEEN b.first AND b.last
    LEFT JOIN dispositions AS d ON d.call_id = c.id
    LEFT JOIN uncharged AS u ON u.call_id = c.id AND u.side = 'client'
    LEFT JOIN LATERAL (SELECT true AS in_force FROM ledger WHERE ledger.call_id = c.id AND side = 'client'
                       HAVING sum({sign_of("kind")}) = 1) AS l ON true
    LEFT JOIN recordings AS r ON r.call_id = c.id
    WHERE d.call_id IS NULL OR (u.call_id IS NULL) = (l.in_force IS NULL) OR (d.can_have_audio AND r.call_id IS NULL)
    """,
    # A record that is nowhere: neither call nor repeat nor set aside.
    """
    CREATE TEMPORARY TABLE balance_unread ON COMMIT DROP AS
    SELECT i.record_id, b.finished
    FROM balance_unclear AS b
    JOIN inbox AS i ON i.record_id BETWEEN b.first AND b.last
    WHERE NOT EXISTS (SELECT FROM calls AS c WHERE c.id = i.record_id)
      AND NOT EXISTS (SELECT FROM duplicates AS d WHERE d.record_id = i.record_id)
      AND NOT EXISTS (SELECT FROM revisions AS v WHERE v.record_id = i.record_id)
      AND NOT EXISTS (SELECT FROM balance_aside AS a WHERE a.record_id = i.record_id)
    """,
)
"""The batches that do not agree, and what in them is not done."""

FIGURES = """
SELECT
  sum(received)::bigint AS received, sum(duplicates)::bigint AS duplicates, sum(calls)::bigint AS calls,
  sum(seconds)::bigint AS seconds,
  (SELECT count(*) FROM balance_aside WHERE place = 'quarantined') AS quarantined,
  (SELECT count(*) FROM balance_aside WHERE place = 'failed') AS failed,
  (SELECT coalesce(sum(talk_seconds), 0)::bigint FROM balance_aside WHERE place = 'failed') AS failed_seconds,
  (SELECT count(*) FROM balance_aside WHERE place = 'discarded') AS discarded,
  (SELECT count(*) FROM balance_aside WHERE is_call) AS calls_aside,
  (SELECT count(*) FROM balance_undone AS u
    WHERE NOT EXISTS (SELECT FROM balance_aside AS a WHERE a.record_id = u.id)) AS underway,
  (SELECT coalesce(sum(talk_seconds), 0)::bigint FROM (SELECT id, talk_seconds FROM balance_undone
     UNION SELECT record_id, talk_seconds FROM balance_aside WHERE is_call) AS not_done) AS seconds_not_done,
  (SELECT count(*) FROM balance_unread) AS unread
FROM (SELECT received, duplicates, calls, seconds FROM balance_batches
      UNION ALL SELECT 0, 0, 0, 0) AS each_batch
"""
"""The lines of the sheet."""

CHARGED = """
SELECT currency, sum(amount) AS amount FROM balance_ledger WHERE batch IN (SELECT id FROM balance_window)
GROUP BY currency
"""
"""What was charged, net of reversals."""

RULES = {
    "a finished batch has a call that lacks its disposition, its one charge or its recording": """
        SELECT u.id FROM balance_undone AS u
        WHERE u.finished AND NOT EXISTS (SELECT FROM balance_aside AS a WHERE a.record_id = u.id)""",
    "a finished batch has a record that is nowhere": """
        SELECT record_id FROM balance_unread WHERE finished""",
    "a call is charged more than once": f"""
        SELECT l.call_id FROM balance_unclear AS b JOIN ledger AS l ON l.call_id BETWEEN b.first AND b.last
        WHERE l.side = 'client' GROUP BY l.call_id HAVING sum({sign_of("l.kind")}) NOT IN (0, 1)""",
    "a call is both charged and not to be charged": f"""
        SELECT l.call_id FROM balance_unclear AS b JOIN ledger AS l ON l.call_id BETWEEN b.first AND b.last
        JOIN uncharged AS u ON u.call_id = l.call_id AND u.side = 'client'
        WHERE l.side = 'client' GROUP BY l.call_id HAVING sum({sign_of("l.kind")}) > 0""",
    "a charge, disposition, recording or reason has no call": """
        SELECT x.call_id FROM balance_unclear AS b
        JOIN LATERAL (SELECT call_id FROM ledger WHERE call_id BETWEEN b.first AND b.last
                      UNION SELECT call_id FROM dispositions WHERE call_id BETWEEN b.first AND b.last
                      UNION SELECT call_id FROM recordings WHERE call_id BETWEEN b.first AND b.last
                      UNION SELECT call_id FROM uncharged WHERE call_id BETWEEN b.first AND b.last) AS x ON true
        WHERE NOT EXISTS (SELECT FROM calls AS c WHERE c.id = x.call_id)""",
    "a record is in more than one place": """
        SELECT x.record_id FROM balance_unclear AS b
        JOIN LATERAL (SELECT id AS record_id FROM calls WHERE id BETWEEN b.first AND b.last
                      UNION ALL SELECT record_id FROM duplicates WHERE record_id BETWEEN b.first AND b.last
                      UNION ALL SELECT record_id FROM revisions WHERE record_id BETWEEN b.first AND b.last) AS x ON true
        GROUP BY x.record_id HAVING count(*) > 1""",
    "a call, duplicate or failure has no record in the inbox": """
        SELECT x.record_id FROM balance_unclear AS b
        JOIN LATERAL (SELECT id AS record_id FROM calls WHERE id BETWEEN b.first AND b.last
                      UNION SELECT record_id FROM duplicates WHERE record_id BETWEEN b.first AND b.last
                      UNION SELECT record_id FROM balance_aside WHERE record_id BETWEEN b.first AND b.last) AS x ON true
        WHERE NOT EXISTS (SELECT FROM inbox AS i WHERE i.record_id = x.record_id)""",
    "a batch does not hold the records it was settled with": """
        SELECT first FROM balance_batches WHERE received <> records""",
    "a duplicate is of no call": """
        SELECT x.record_id FROM balance_batches AS b
        JOIN LATERAL (SELECT record_id, call_id FROM duplicates WHERE record_id BETWEEN b.first AND b.last
                      UNION ALL
                      SELECT record_id, call_id FROM revisions WHERE record_id BETWEEN b.first AND b.last) AS x ON true
        WHERE b.repeats AND NOT EXISTS (SELECT FROM calls AS c WHERE c.id = x.call_id)
          AND NOT """
    + is_dropped("x.call_id"),
    "a call waits, or was given up, at a step that it has behind it": f"""
        SELECT f.record_id FROM failures AS f
        WHERE f.state IN ('open', 'discarded') AND f.record_id >> 16 IN (SELECT id FROM balance_window)
          AND CASE f.step
              WHEN 'normalize' THEN EXISTS (SELECT FROM calls AS c WHERE c.id = f.record_id)
              WHEN 'classify' THEN EXISTS (SELECT FROM dispositions AS d WHERE d.call_id = f.record_id)
              WHEN 'bill' THEN EXISTS (SELECT FROM uncharged AS u WHERE u.call_id = f.record_id AND u.side = 'client')
                OR (SELECT sum({sign_of("l.kind")}) FROM ledger AS l
                    WHERE l.call_id = f.record_id AND l.side = 'client') > 0
              ELSE false END""",
    "a failure is to be tried again, but its batch is finished": """
        SELECT f.record_id FROM failures AS f JOIN balance_window AS w ON w.id = f.record_id >> 16
        WHERE f.state = 'retrying' AND w.finished""",
    **money.RULES,
}
"""What must never be; each query names the ids that break its rule."""
