"""The balance sheet: every record received is in exactly one place, and every call has what it is owed.

Each figure is counted from the rows themselves, never from another figure, so that the sum can fail. All tables share
the record's id as key, so every table is read once, by its index alone where that has all that is asked, into a count
and checksums of ids a batch. A batch whose counts and checksums agree is in order: each of its records is in exactly
one place, each of its calls has exactly what it is owed. The few batches that do not agree, most of them on their way,
are looked at record by record. What a charge comes to is worked out again for every line of the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

from sqlalchemy import select, text

from pipeline.balance import money, queries
from pipeline.balance.fed import Fed, fed
from pipeline.balance.provider import ProvidersSheet, broken_rules, providers_sheet
from pipeline.database.tables import ranges

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection

SHOWN_IDS = 20


class ViolationJson(TypedDict):
    """A rule the rows break, as scripts know it."""

    rule: str
    count: int
    ids: list[int]


class BalanceJson(TypedDict):
    """The sheet as scripts know it; entries by ``records`` and, where it is known, ``talk_seconds``."""

    received: dict[str, int]
    processed: dict[str, int]
    duplicate: dict[str, int]
    quarantined: dict[str, int]
    failed: dict[str, int]
    discarded: dict[str, int]
    pending: dict[str, int]
    charged: dict[str, str]
    unbilled: dict[str, dict[str, int]]
    provider: dict[str, Any] | None
    subscribers: dict[str, dict[str, int]]
    dropped: dict[str, Any]
    violations: list[ViolationJson]
    closes: bool


class WindowBy(StrEnum):
    """What puts a batch into the window."""

    RECEIVED = "received"
    """That it was received in that time."""
    DIALLED = "dialled"
    """That one of its calls was dialled in that time."""


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

    def as_dict(self) -> ViolationJson:
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
    unbilled: dict[str, Entry] = field(default_factory=dict)
    """Calls with talk seconds that nobody is charged for, by disposition."""
    subscribers: tuple[Fed, ...] = ()
    """What each was fed, and what became of it; none where the sheet is of a window."""
    dropped: dict[str, BalanceJson] = field(default_factory=dict)
    """The sheets of the ranges that were dropped, by name; none where the sheet is of a window."""
    violations: tuple[Violation, ...] = field(default=())
    provider: ProvidersSheet | None = None
    """The provider's side; None where there is none. All other figures are the client's."""

    PLACES = ("processed", "duplicate", "quarantined", "failed", "discarded", "pending")

    @property
    def closes(self) -> bool:
        """Whether nothing is lost, and nothing wrong was found."""
        return not self.violations

    def as_dict(self) -> BalanceJson:
        """As ``--json`` shows it; amounts are strings."""
        return {
            "received": self.received.as_dict(),
            "processed": self.processed.as_dict(),
            "duplicate": self.duplicate.as_dict(),
            "quarantined": self.quarantined.as_dict(),
            "failed": self.failed.as_dict(),
            "discarded": self.discarded.as_dict(),
            "pending": self.pending.as_dict(),
            "charged": {currency: f"{amount:f}" for currency, amount in sorted(self.charged.items())},
            "unbilled": {disposition: entry.as_dict() for disposition, entry in sorted(self.unbilled.items())},
            "provider": None if self.provider is None else self.provider.as_dict(),
            "subscribers": {each.name: each.as_dict() for each in self.subscribers},
            "dropped": self.dropped,
            "violations": [violation.as_dict() for violation in self.violations],
            "closes": self.closes,
        }


# long: one query after the other, each a line of the sheet
def balance_sheet(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: WindowBy = WindowBy.RECEIVED,
    source: str | None = None,
    records: tuple[int, int] | None = None,
) -> Balance:
    """Count everything in the batches of a window; each is counted whole.

    Ranges that were dropped are in none. What they came to is told beside the sheet of everything.

    Subscribers have one count over all that happened since they were added, so they are in the sheet of everything.

    Args:
        connection: a connection outside any transaction; one consistent snapshot is read.
        since: batches of this instant or later; None from the beginning.
        until: batches of before this instant; None to the end.
        by: whether they are of an instant by having been received then, or by a call that was dialled then.
        source: one dialler; None all.
        records: the first and the last record of a range, which is then the window, whatever becomes of it.
    """
    with connection.execution_options(isolation_level="REPEATABLE READ").begin():
        connection.execute(text("SET LOCAL work_mem = '64MB'"))
        wanted = {"since": since, "until": until, "source": source}
        if records is None:
            connection.execute(text(queries.window(wanted, by_calls=by is WindowBy.DIALLED)), wanted)
        else:
            connection.execute(text(queries.of_records()), dict(zip(("first", "last"), records, strict=True)))
        bounds = connection.execute(text(queries.BOUNDS)).one()._asdict()
        connection.execute(text(queries.SET_ASIDE))
        connection.execute(text(money.LEDGER), bounds | _versions(connection))
        connection.execute(text(queries.BATCHES), bounds)
        for statement in (*queries.CLOSER_LOOK, *money.CLOSER_LOOK):
            connection.execute(text(statement))
        figures = connection.execute(text(queries.FIGURES)).one()
        charged = {row.currency: row.amount for row in connection.execute(text(queries.CHARGED))}
        unbilled = {
            row.disposition: Entry(row.records, row.talk_seconds) for row in connection.execute(text(money.UNBILLED))
        }
        violations = [
            violation
            for rule, query in queries.RULES.items()
            if (violation := _check(rule, connection.execute(text(query)).scalars().all()))
        ]
        provider = providers_sheet(connection, bounds)
        if provider is not None:
            violations += [found for rule, ids in broken_rules(connection) if (found := _check(rule, ids))]
        is_of_all = since is None and until is None and source is None and records is None
        subscribers = fed(connection) if is_of_all else []
        dropped = dropped_ranges(connection) if is_of_all else {}
    places = {
        "processed": figures.calls - figures.calls_aside - figures.underway,
        "duplicate": figures.duplicates,
        "quarantined": figures.quarantined,
        "failed": figures.failed,
        "discarded": figures.discarded,
        "pending": figures.unread + figures.underway,
    }
    missing = figures.received - sum(places.values())
    if missing:
        violations.append(Violation(f"received and accounted for differ by {missing} records", abs(missing)))
    violations += [violation for each in subscribers if (violation := _check_fed(each))]
    return Balance(
        received=Entry(figures.received),
        processed=Entry(places["processed"], figures.seconds - figures.seconds_not_done),
        duplicate=Entry(places["duplicate"]),
        quarantined=Entry(places["quarantined"]),
        failed=Entry(places["failed"], figures.failed_seconds),
        discarded=Entry(places["discarded"]),
        pending=Entry(places["pending"]),
        charged=charged,
        unbilled=unbilled,
        subscribers=tuple(subscribers),
        dropped=dropped,
        violations=tuple(violations),
        provider=provider,
    )


def dropped_ranges(connection: Connection) -> dict[str, BalanceJson]:
    """What each range that was dropped came to."""
    of = ranges.c
    rows = connection.execute(select(of.name, of.sums).where(of.drop_began_at.is_not(None)).order_by(of.first_record))
    return {row.name: row.sums for row in rows}


def _versions(connection: Connection) -> dict[str, list[object]]:
    """The tariff versions, an array a column."""
    rows = connection.execute(text(money.VERSIONS)).all()
    return {f"v_{name}": [getattr(row, name) for row in rows] for name in money.VERSION_COLUMNS}


def _check(rule: str, ids: Any) -> Violation | None:
    return Violation(rule, len(ids), tuple(sorted(ids)[:SHOWN_IDS])) if ids else None


def _check_fed(each: Fed) -> Violation | None:
    if not each.is_whole:
        return Violation(f"subscriber {each.name}: rows of the feed are gone that nobody counted", 1)
    if missing := each.all - each.accounted_for:
        return Violation(
            f"subscriber {each.name} was fed {each.all:,} events, and {each.accounted_for:,} are accounted for",
            abs(missing),
        )
    return None
