"""The balance sheet: every record received is in exactly one place, and every call has what it is owed.

Each figure is counted from the rows themselves, never from another figure, so that the sum can fail. All tables share
the record's id as key, which makes the joins below walks along indexes in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.storage.models import PLACES

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection

SHOWN_IDS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the sheet."""

    records: int
    talk_seconds: int | None = None

    def as_dict(self) -> dict[str, int]:
        """As ``--json`` shows it: ``talk_seconds`` only where it is known."""
        return {"records": self.records} | ({} if self.talk_seconds is None else {"talk_seconds": self.talk_seconds})


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule the rows break, and who breaks it."""

    rule: str
    count: int
    ids: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {"rule": self.rule, "count": self.count, "ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class Balance:
    """``received = processed + duplicate + quarantined + failed + discarded + pending``."""

    received: Entry
    processed: Entry
    duplicate: Entry
    quarantined: Entry
    failed: Entry
    discarded: Entry
    pending: Entry
    charged: dict[str, Decimal]
    violations: tuple[Violation, ...] = field(default=())

    PLACES = ("processed", "duplicate", "quarantined", "failed", "discarded", "pending")

    @property
    def closes(self) -> bool:
        """Whether nothing is lost, and nothing wrong was found."""
        return not self.violations

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` shows it; amounts are strings."""
        return {
            "received": self.received.as_dict(),
            **{name: getattr(self, name).as_dict() for name in self.PLACES},
            "charged": {currency: f"{amount:f}" for currency, amount in sorted(self.charged.items())},
            "violations": [violation.as_dict() for violation in self.violations],
            "closes": self.closes,
        }


# Every query below sees only the batches of the window, chosen once.
_WINDOW = """
CREATE TEMPORARY TABLE balance_window ON COMMIT DROP AS
SELECT id, records, id * :places AS first, finished_at IS NOT NULL AS finished
FROM batches
WHERE (cast(:since AS timestamptz) IS NULL OR received_at >= :since)
  AND (cast(:until AS timestamptz) IS NULL OR received_at < :until)
  AND (cast(:source AS text) IS NULL OR source = :source)
"""

# A call that lacks something it is owed. A call has a charge in force when it was charged once more than reversed.
_UNDONE = """
CREATE TEMPORARY TABLE balance_undone ON COMMIT DROP AS
SELECT c.id, c.talk_seconds
FROM calls AS c
LEFT JOIN dispositions AS d ON d.call_id = c.id
LEFT JOIN uncharged AS u ON u.call_id = c.id
LEFT JOIN (SELECT call_id FROM ledger GROUP BY call_id
           HAVING count(*) FILTER (WHERE kind = 'charge') - count(*) FILTER (WHERE kind = 'reversal') = 1) AS l
       ON l.call_id = c.id
LEFT JOIN recordings AS r ON r.call_id = c.id
WHERE (d.call_id IS NULL OR (u.call_id IS NULL) = (l.call_id IS NULL) OR (d.can_have_audio AND r.call_id IS NULL))
  AND c.id / :places IN (SELECT id FROM balance_window)
"""

_ASIDE = """
CREATE TEMPORARY TABLE balance_aside ON COMMIT DROP AS
SELECT record_id,
       CASE WHEN bool_or(state = 'open' AND step = 'normalize') THEN 'quarantined'
            WHEN bool_or(state = 'open') THEN 'failed'
            ELSE 'discarded' END AS place
FROM failures
WHERE state IN ('open', 'discarded') AND record_id / :places IN (SELECT id FROM balance_window)
GROUP BY record_id
"""

_FIGURES = """
SELECT
  (SELECT coalesce(sum(records), 0) FROM balance_window) AS announced,
  (SELECT count(*) FROM inbox WHERE record_id / :places IN (SELECT id FROM balance_window)) AS received,
  (SELECT count(*) FROM duplicates WHERE record_id / :places IN (SELECT id FROM balance_window)) AS duplicates,
  (SELECT count(*) FROM balance_aside WHERE place = 'quarantined') AS quarantined,
  (SELECT count(*) FROM balance_aside WHERE place = 'failed') AS failed,
  (SELECT coalesce(sum(c.talk_seconds), 0) FROM balance_aside AS a JOIN calls AS c ON c.id = a.record_id
    WHERE a.place = 'failed') AS failed_seconds,
  (SELECT count(*) FROM balance_aside WHERE place = 'discarded') AS discarded,
  (SELECT count(*) FROM balance_undone AS u WHERE NOT EXISTS
     (SELECT FROM balance_aside AS a WHERE a.record_id = u.id)) AS underway,
  (SELECT count(*) FROM calls WHERE id / :places IN (SELECT id FROM balance_window)) AS calls,
  (SELECT coalesce(sum(talk_seconds), 0) FROM calls WHERE id / :places IN (SELECT id FROM balance_window)) AS seconds,
  (SELECT count(*) FROM balance_aside AS a
    WHERE EXISTS (SELECT FROM calls AS c WHERE c.id = a.record_id)) AS calls_aside,
  (SELECT coalesce(sum(c.talk_seconds), 0) FROM calls AS c WHERE c.id IN
     (SELECT id FROM balance_undone UNION SELECT record_id FROM balance_aside)) AS seconds_not_done,
  (SELECT count(*) FROM inbox AS i
    WHERE i.record_id / :places IN (SELECT id FROM balance_window WHERE NOT finished)
      AND NOT EXISTS (SELECT FROM calls AS c WHERE c.id = i.record_id)
      AND NOT EXISTS (SELECT FROM duplicates AS d WHERE d.record_id = i.record_id)
      AND NOT EXISTS (SELECT FROM balance_aside AS a WHERE a.record_id = i.record_id)) AS unread
"""

_CHARGED = """
SELECT currency, sum(amount) AS amount FROM ledger
WHERE call_id / :places IN (SELECT id FROM balance_window) GROUP BY currency
"""

_RULES = {
    "a finished batch has a call that lacks its disposition, its charge or its recording": """
        SELECT u.id FROM balance_undone AS u JOIN balance_window AS w ON w.id = u.id / :places
        WHERE w.finished AND NOT EXISTS (SELECT FROM balance_aside AS a WHERE a.record_id = u.id)""",
    "a call is charged more than once": """
        SELECT call_id FROM ledger WHERE call_id / :places IN (SELECT id FROM balance_window) GROUP BY call_id
        HAVING count(*) FILTER (WHERE kind = 'charge') - count(*) FILTER (WHERE kind = 'reversal') NOT IN (0, 1)""",
    "a call is both charged and not to be charged": """
        SELECT u.call_id FROM uncharged AS u JOIN ledger AS l ON l.call_id = u.call_id
        WHERE u.call_id / :places IN (SELECT id FROM balance_window) GROUP BY u.call_id
        HAVING count(*) FILTER (WHERE kind = 'charge') > count(*) FILTER (WHERE kind = 'reversal')""",
    "a charge, disposition or recording has no call": """
        SELECT x.call_id FROM (SELECT call_id FROM ledger UNION SELECT call_id FROM dispositions
                               UNION SELECT call_id FROM recordings UNION SELECT call_id FROM uncharged) AS x
        LEFT JOIN calls AS c ON c.id = x.call_id
        WHERE c.id IS NULL AND x.call_id / :places IN (SELECT id FROM balance_window)""",
    "a record is both a call and a duplicate": """
        SELECT d.record_id FROM duplicates AS d JOIN calls AS c ON c.id = d.record_id
        WHERE d.record_id / :places IN (SELECT id FROM balance_window)""",
    "a batch does not hold the records it was settled with": """
        SELECT w.first FROM balance_window AS w
        LEFT JOIN (SELECT record_id / :places AS id, count(*) AS records FROM inbox
                   WHERE record_id / :places IN (SELECT id FROM balance_window) GROUP BY 1) AS i ON i.id = w.id
        WHERE coalesce(i.records, 0) <> w.records""",
}


def balance_sheet(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    source: str | None = None,
) -> Balance:
    """Count everything received in a window.

    Args:
        connection: a connection outside any transaction; one consistent snapshot is read.
        since: batches received at this instant or later; None from the beginning.
        until: batches received before this instant; None to the end.
        source: one dialler; None all.
    """
    places = {"places": PLACES}
    with connection.execution_options(isolation_level="REPEATABLE READ").begin():
        connection.execute(text(_WINDOW), {**places, "since": since, "until": until, "source": source})
        connection.execute(text(_UNDONE), places)
        connection.execute(text(_ASIDE), places)
        connection.execute(text("ANALYZE balance_window, balance_undone, balance_aside"))
        figures = connection.execute(text(_FIGURES), places).one()
        charged = {row.currency: row.amount for row in connection.execute(text(_CHARGED), places)}
        violations = [
            violation
            for rule, query in _RULES.items()
            if (violation := _check(rule, connection.execute(text(query), places).scalars().all()))
        ]
    places_of = {
        "processed": figures.calls - figures.calls_aside - figures.underway,
        "duplicate": figures.duplicates,
        "quarantined": figures.quarantined,
        "failed": figures.failed,
        "discarded": figures.discarded,
        "pending": figures.unread + figures.underway,
    }
    missing = figures.received - sum(places_of.values())
    if missing:
        violations.append(Violation(f"received and accounted for differ by {missing} records", abs(missing)))
    return Balance(
        received=Entry(figures.received),
        processed=Entry(places_of["processed"], int(figures.seconds - figures.seconds_not_done)),
        duplicate=Entry(places_of["duplicate"]),
        quarantined=Entry(places_of["quarantined"]),
        failed=Entry(places_of["failed"], int(figures.failed_seconds)),
        discarded=Entry(places_of["discarded"]),
        pending=Entry(places_of["pending"]),
        charged=charged,
        violations=tuple(violations),
    )


def _check(rule: str, ids: Any) -> Violation | None:
    return Violation(rule, len(ids), tuple(sorted(ids)[:SHOWN_IDS])) if ids else None
