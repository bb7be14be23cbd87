"""Records that are really waiting, and for what: the one answer for the tab, the gauges and whoever else shows it.

Many a batch is opened again for one record of two thousand. So what waits is counted record by record, as the balance
sheet counts what is pending: whatever a step has not done yet, but for what is set aside. The marks of a batch say
for which steps there is nothing left to count.
"""

from __future__ import annotations

from typing import Final

_RANGE: Final = "BETWEEN b.id << 16 AND (b.id << 16) + 65535"
"""The records of a batch (``record_ids.PLACES``)."""


def _ids(mark: str, table: str, key: str, counts: str, more: str = "") -> str:
    return f"SELECT {key} AS id, {counts} AS n FROM {table} WHERE b.{mark} IS NULL AND {key} {_RANGE}{more}"


def _left(step: str, mark: str, *parts: str) -> str:
    """What of a step is not done: each record to do counts one, and whatever was done for it takes that away."""
    aside = _ids(mark, "failures", "record_id", "-1", " AND state IN ('open', 'discarded')")
    every = " UNION ALL ".join((*parts, aside))
    return f"SELECT '{step}' AS step, id FROM ({every}) AS {step} GROUP BY id HAVING sum(n) > 0"


_READ: Final = " UNION ".join(
    (
        _ids("normalized_at", "calls", "id", "0"),
        _ids("normalized_at", "duplicates", "record_id", "0"),
        _ids("normalized_at", "revisions", "record_id", "0"),
        _ids("normalized_at", "failures", "record_id", "0", " AND state IN ('open', 'discarded')"),
    )
)

_LEFT: Final = " UNION ALL ".join(
    (
        _left(
            "classify",
            "classified_at",
            _ids("classified_at", "calls", "id", "1"),
            _ids("classified_at", "dispositions", "call_id", "-1"),
        ),
        _left(
            "bill",
            "billed_at",
            _ids("billed_at", "dispositions", "call_id", "1"),
            _ids("billed_at", "uncharged", "call_id", "-1", " AND side = 'client'"),
            _ids(
                "billed_at", "ledger", "call_id", "CASE kind WHEN 'charge' THEN -1 ELSE 1 END", " AND side = 'client'"
            ),
        ),
        _left(
            "schedule_recordings",
            "recordings_scheduled_at",
            _ids("recordings_scheduled_at", "dispositions", "call_id", "1", " AND can_have_audio"),
            _ids("recordings_scheduled_at", "recordings", "call_id", "-1"),
        ),
        # No row says that a call is in its contact: what was classified since the batch was last opened waits, which is
        # nothing of the call itself.
        _left(
            "update_contacts",
            "contacts_updated_at",
            _ids(
                "contacts_updated_at",
                "dispositions",
                "call_id",
                "1",
                " AND (b.reopened_at IS NULL OR classified_at >= b.reopened_at)",
            ),
        ),
    )
)

# A new batch that no step has come to is all it holds: its ranges are empty, and looking there costs next to nothing.
PENDING: Final = f"""
SELECT b.*, unread.n AS normalize, waits.classify, waits.bill, waits.schedule_recordings, waits.update_contacts,
       unread.n + waits.records AS waiting
FROM batches AS b
CROSS JOIN LATERAL (
  SELECT CASE WHEN b.normalized_at IS NULL THEN greatest(b.records - count(*), 0) ELSE 0 END AS n
  FROM ({_READ}) AS read_already
) AS unread
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE step = 'classify') AS classify, count(*) FILTER (WHERE step = 'bill') AS bill,
         count(*) FILTER (WHERE step = 'schedule_recordings') AS schedule_recordings,
         count(*) FILTER (WHERE step = 'update_contacts') AS update_contacts,
         count(DISTINCT id) FILTER (WHERE step <> 'update_contacts') AS records
  FROM ({_LEFT}) AS each_record
) AS waits
WHERE b.finished_at IS NULL
"""
"""Each unfinished batch of ``batches`` and, in columns named after the steps, how many of its records wait for each.
``waiting`` is how many wait at all, as the balance sheet has them: after ``classify`` steps go on side by side; who
waits for two of them counts once, and who waits for its contact alone not at all."""
