"""What calls of a month leave between both sides of the ledger."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.billing.billed_calls import Selection, extent_of
from pipeline.billing.rules.margin import Charged, margins
from pipeline.billing.rules.pricing import LineKind
from pipeline.billing.rules.sides import Side
from pipeline.billing.statements import NotCharged, not_charged
from pipeline.database.narrowing import narrow_sql

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.billing.rules.margin import Margin
    from pipeline.billing.rules.months import Days


class MarginBy(StrEnum):
    """What a margin is broken down by."""

    CAMPAIGN = "campaign"
    DAY = "day"
    PREFIX = "prefix"
    DIAL_NUMBER = "dial_number"


class MonthsMargin(NamedTuple):
    """A month, and what is not known of it."""

    lines: list[Margin]
    not_charged: list[NotCharged]
    """Why the provider charges nothing, or why that is not known, what is most frequent first."""
    not_of_a_provider: int
    """Calls that no provider's tariff was assigned to when they were billed: they have nothing on that side, not even
    a reason."""


_GROUPS = {
    MarginBy.CAMPAIGN: "c.campaign_ref",
    MarginBy.DAY: "(cast(:days AS text[]))[width_bucket(c.dialed_at, cast(:begins AS timestamptz[]))]",
    # A call has one group, or its two sides would stand apart: where the provider charges it, by what that goes by.
    MarginBy.PREFIX: "coalesce(p.prefix, k.prefix)",
    MarginBy.DIAL_NUMBER: "coalesce(c.dial_number, '')",
}


def _in_force(side: Side) -> str:
    return (
        "SELECT call_id, currency, amount, prefix FROM ledger AS charge "
        f"WHERE call_id BETWEEN :first AND :last AND side = '{side}' AND kind = '{LineKind.CHARGE}' "
        "AND NOT EXISTS (SELECT FROM ledger AS reversal WHERE reversal.call_id BETWEEN :first AND :last "
        f"  AND reversal.side = '{side}' AND reversal.kind = '{LineKind.REVERSAL}' "
        "  AND reversal.call_id = charge.call_id AND reversal.revision = charge.revision)"
    )


# SQL: three ranges of the same ids, joined. A charge is in force that has no reversal of its revision, one a side.
_CHARGED = f"""
FROM calls AS c
LEFT JOIN ({_in_force(Side.CLIENT)}) AS k ON k.call_id = c.id
LEFT JOIN ({_in_force(Side.PROVIDER)}) AS p ON p.call_id = c.id
WHERE c.id BETWEEN :first AND :last AND (k.call_id IS NOT NULL OR p.call_id IS NOT NULL)
"""
_NOT_OF_A_PROVIDER = f"""
SELECT count(*) FROM calls AS c
LEFT JOIN (SELECT DISTINCT call_id FROM ledger
           WHERE call_id BETWEEN :first AND :last AND side = '{Side.PROVIDER}') AS l ON l.call_id = c.id
LEFT JOIN uncharged AS u
    ON u.call_id = c.id AND u.side = '{Side.PROVIDER}' AND u.call_id BETWEEN :first AND :last
WHERE c.id BETWEEN :first AND :last AND l.call_id IS NULL AND u.call_id IS NULL
"""
_DIALED = {"since": "c.dialed_at >= :since", "until": "c.dialed_at < :until", "source": "c.source = :source"}


def margin_by(connection: Connection, month: Days, by: MarginBy, *, source: str | None = None) -> MonthsMargin:
    """What the calls dialled in a month are charged, what they cost, and what that leaves.

    Args:
        connection: the database.
        month: the month.
        by: what each line stands for.
        source: one dialler; None all.
    """
    values, narrowed = _narrowed(connection, month, source)
    return MonthsMargin(
        margin_lines(connection, month, by, source=source),
        not_charged(connection, month, Side.PROVIDER, source=source),
        connection.execute(text(f"{_NOT_OF_A_PROVIDER}{narrowed}"), values).scalar_one(),
    )


def margin_lines(connection: Connection, month: Days, by: MarginBy, *, source: str | None = None) -> list[Margin]:
    """The lines alone; see `margin_by`."""
    values, narrowed = _narrowed(connection, month, source)
    rows = connection.execute(
        text(
            f"SELECT {_GROUPS[by]} AS grp, k.currency, p.currency, count(*) AS calls, "
            f"  coalesce(sum(k.amount), 0) AS client, coalesce(sum(p.amount), 0) AS provider {_CHARGED}{narrowed} "
            "GROUP BY grp, k.currency, p.currency"
        ),
        {**values, "days": [day.isoformat() for day in month.days], "begins": list(month.begins[:-1])},
    )
    return margins(Charged(*row) for row in rows)


def _narrowed(connection: Connection, month: Days, source: str | None) -> tuple[dict[str, Any], str]:
    extent = extent_of(connection, Selection(month.since, month.until, source=source))
    wanted: dict[str, Any] = {"since": month.since, "until": month.until, "source": source}
    return {**wanted, "first": extent.first, "last": extent.last}, narrow_sql(wanted, _DIALED)
