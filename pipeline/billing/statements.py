"""What calls of a month are charged, added up from the ledger."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.billing.billed_calls import Selection, extent_of
from pipeline.billing.ledger import sign_of
from pipeline.billing.rules.sides import Side
from pipeline.database.narrowing import narrow_sql

if TYPE_CHECKING:
    from decimal import Decimal

    from sqlalchemy import Connection

    from pipeline.billing.rules.months import Days


class GroupBy(StrEnum):
    """What a statement is broken down by."""

    CAMPAIGN = "campaign"
    DAY = "day"
    PREFIX = "prefix"
    AGENT = "agent"


class Entry(NamedTuple):
    """What one group comes to in one currency."""

    group: str
    calls: int
    """Calls with a charge in force."""
    billable_seconds: int
    amount: Decimal
    currency: str


_GROUPS = {
    GroupBy.CAMPAIGN: "c.campaign_ref",
    # The days are this project's own, so that they begin when a tariff's do, whatever zones the server knows.
    GroupBy.DAY: "(cast(:days AS text[]))[width_bucket(c.dialed_at, cast(:begins AS timestamptz[]))]",
    GroupBy.PREFIX: "l.prefix",
    GroupBy.AGENT: "coalesce(c.extension, '')",
}

# SQL: two ranges of the same ids, joined; it reads a month of the ledger in order, and is written as it was measured.
_CHARGED = (
    f"FROM calls AS c JOIN (SELECT call_id, {sign_of('kind')} AS sign, billable_seconds, amount, currency, prefix "
    "                       FROM ledger WHERE call_id BETWEEN :first AND :last AND side = :side) AS l "
    "  ON l.call_id = c.id "
    "WHERE c.id BETWEEN :first AND :last"
)
_DIALED = {"since": "c.dialed_at >= :since", "until": "c.dialed_at < :until", "source": "c.source = :source"}


def charges_by(
    connection: Connection, month: Days, by: GroupBy, *, source: str | None = None, side: Side = Side.CLIENT
) -> list[Entry]:
    """The charges in force of the calls dialled in a month; a reversal takes away what its charge has brought.

    Args:
        connection: the database.
        month: the month.
        by: what each entry stands for.
        source: one dialler; None all.
        side: whose account.
    """
    extent = extent_of(connection, Selection(month.since, month.until, source=source))
    wanted = {"since": month.since, "until": month.until, "source": source}
    rows = connection.execute(
        text(
            f"SELECT {_GROUPS[by]} AS grp, sum(l.sign) AS calls, sum(l.sign * l.billable_seconds) AS seconds, "
            f"  sum(l.amount) AS amount, l.currency {_CHARGED}{narrow_sql(wanted, _DIALED)} "
            "GROUP BY grp, l.currency HAVING sum(l.sign) <> 0 OR sum(l.amount) <> 0 ORDER BY grp, l.currency"
        ),
        {
            **wanted,
            "first": extent.first,
            "last": extent.last,
            "side": side.value,
            "days": [day.isoformat() for day in month.days],
            "begins": list(month.begins[:-1]),
        },
    )
    return [Entry(row.grp, int(row.calls), int(row.seconds), row.amount, row.currency) for row in rows]


class NotCharged(NamedTuple):
    """Calls that cost nothing on a side, or of which that is not known, for one reason."""

    reason: str
    """Without the number that it may name."""
    calls: int


REASONS_TOLD: Final = 50


def not_charged(connection: Connection, month: Days, side: Side, *, source: str | None = None) -> list[NotCharged]:
    """Why calls of a month are not charged, what is most frequent first.

    Args:
        connection: the database.
        month: the month in which they were dialled.
        side: whose account.
        source: one dialler; None all.
    """
    extent = extent_of(connection, Selection(month.since, month.until, source=source))
    wanted = {"since": month.since, "until": month.until, "source": source}
    rows = connection.execute(
        text(
            "SELECT regexp_replace(u.reason, '[+]?[0-9]{5,}', '…') AS reason, count(*) AS calls "
            "FROM calls AS c JOIN uncharged AS u ON u.call_id = c.id "
            "WHERE c.id BETWEEN :first AND :last AND u.call_id BETWEEN :first AND :last AND u.side = :side"
            f"{narrow_sql(wanted, _DIALED)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {REASONS_TOLD}"
        ),
        {**wanted, "first": extent.first, "last": extent.last, "side": side.value},
    )
    return [NotCharged(row.reason, row.calls) for row in rows]


def totals(entries: list[Entry]) -> list[Entry]:
    """What the entries come to, by currency."""
    sums: dict[str, Entry] = {}
    for each in entries:
        so_far = sums.get(each.currency)
        sums[each.currency] = (
            each._replace(group="")
            if so_far is None
            else Entry(
                "",
                so_far.calls + each.calls,
                so_far.billable_seconds + each.billable_seconds,
                so_far.amount + each.amount,
                each.currency,
            )
        )
    return [sums[currency] for currency in sorted(sums)]
