"""What calls of a month leave between both sides of the ledger."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from pipeline.billing.billed_calls import Selection, extent_of
from pipeline.billing.ledger import sign_of
from pipeline.billing.rules.margin import Charged, margins
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
    MarginBy.PREFIX: "coalesce(l.provider_prefix, l.client_prefix)",
    MarginBy.DIAL_NUMBER: "coalesce(c.dial_number, '')",
}


def _of(side: Side, what: str) -> str:
    return f"max({what}) FILTER (WHERE side = '{side}')"


# SQL: as a statement reads the ledger, two ranges of the same ids, with both sides of a call put beside each other. A
# reversal is the mirror of its charge, so of a call's lines one is left on a side, which is in force, or none.
_CHARGED = f"""
FROM calls AS c JOIN (
    SELECT call_id, {_of(Side.CLIENT, "currency")} AS client_currency, {_of(Side.CLIENT, "amount")} AS client,
           {_of(Side.CLIENT, "prefix")} AS client_prefix, {_of(Side.PROVIDER, "currency")} AS provider_currency,
           {_of(Side.PROVIDER, "amount")} AS provider, {_of(Side.PROVIDER, "prefix")} AS provider_prefix
    FROM (SELECT call_id, side, currency, prefix, sum(amount) AS amount FROM ledger
          WHERE call_id BETWEEN :first AND :last
          GROUP BY call_id, side, currency, prefix HAVING sum({sign_of("kind")}) > 0) AS in_force
    GROUP BY call_id) AS l ON l.call_id = c.id
WHERE c.id BETWEEN :first AND :last
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
            f"SELECT {_GROUPS[by]} AS grp, l.client_currency, l.provider_currency, count(*) AS calls, "
            f"  coalesce(sum(l.client), 0) AS client, coalesce(sum(l.provider), 0) AS provider {_CHARGED}{narrowed} "
            "GROUP BY grp, l.client_currency, l.provider_currency"
        ),
        {**values, "days": [day.isoformat() for day in month.days], "begins": list(month.begins[:-1])},
    )
    return margins(Charged(*row) for row in rows)


def _narrowed(connection: Connection, month: Days, source: str | None) -> tuple[dict[str, Any], str]:
    extent = extent_of(connection, Selection(month.since, month.until, source=source))
    wanted: dict[str, Any] = {"since": month.since, "until": month.until, "source": source}
    return {**wanted, "first": extent.first, "last": extent.last}, narrow_sql(wanted, _DIALED)
