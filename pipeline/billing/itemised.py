"""The ledger line by line, with the call of each: what an accountant sends with a bill, or looks for a cent in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.billing.billed_calls import Selection, extent_of
from pipeline.billing.rules.sides import Side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection

LINES_AT_ONCE: Final = 5_000
"""Held in memory, however many there are."""


class Item(NamedTuple):
    """One line of the ledger, and the call it charges; instants are aware."""

    source: str
    call_ref: str
    dialed_at: datetime
    campaign: str
    number: str | None
    """The number that was rated: the one called, of an inbound call the dialler's own; None when there was none."""
    direction: str
    disposition: str | None
    kind: str
    """``charge`` or ``reversal``."""
    revision: int
    """A charge and the reversal of it have the same."""
    talk_seconds: int
    billable_seconds: int
    tariff: str | None
    version: int | None
    rate_line: int | None
    prefix: str
    rate_per_minute: Decimal
    connect_fee: Decimal
    amount: Decimal
    currency: str
    reason: str
    entered_at: datetime


_FROM: Final = {
    "campaign": "c.campaign_ref",
    "number": "CASE c.direction WHEN 'inbound' THEN c.dial_number ELSE c.client_number END",
    "disposition": "d.disposition",
    "tariff": "t.name",
    "version": "v.version",
    **{name: f"c.{name}" for name in ("source", "call_ref", "dialed_at", "direction")},
}
_COLUMNS: Final = ", ".join(f"{_FROM.get(name, f'l.{name}')} AS {name}" for name in Item._fields)


def itemised(connection: Connection, selection: Selection, side: Side = Side.CLIENT) -> Iterator[Item]:
    """Every line of the calls of a selection, call by call: together they are what `charges_by` adds up.

    They are read by a cursor of the server's, so that a million of them take no more memory than a few thousand.

    Args:
        connection: the database; nothing else is done with it until the last line was read.
        selection: which calls.
        side: whose account.
    """
    extent = extent_of(connection, selection)
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} "
            "FROM calls AS c JOIN ledger AS l ON l.call_id = c.id "
            "LEFT JOIN dispositions AS d ON d.call_id = c.id AND d.call_id BETWEEN :first AND :last "
            "LEFT JOIN tariff_versions AS v ON v.id = l.tariff_version_id LEFT JOIN tariffs AS t ON t.id = v.tariff_id "
            "WHERE c.id BETWEEN :first AND :last AND l.call_id BETWEEN :first AND :last AND l.side = :side "
            "  AND c.dialed_at >= :since AND c.dialed_at < :until "
            "  AND (cast(:campaign AS text) IS NULL OR c.campaign_ref = :campaign) "
            "  AND (cast(:source AS text) IS NULL OR c.source = :source) "
            "ORDER BY c.id, l.revision, l.kind"
        ).execution_options(yield_per=LINES_AT_ONCE),
        {**selection._asdict(), "first": extent.first, "last": extent.last, "side": side.value},
    )
    return (Item._make(row) for row in rows)
