"""The ledger: what each call is charged, and why a call is not. Only ever inserted into."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from pipeline.storage.database import copy_rows
from pipeline.storage.inbox import first_record, last_record
from pipeline.storage.models import ledger, uncharged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from sqlalchemy import Connection


class Unbilled(NamedTuple):
    """What billing looks at."""

    call_id: int
    campaign_ref: str
    client_number: str | None
    client_number_is_e164: bool
    direction: str
    dialed_at: datetime
    talk_seconds: int
    disposition: str


class Line(NamedTuple):
    """One line of the ledger; fields are its columns."""

    call_id: int
    kind: str
    revision: int
    tariff_version_id: int
    prefix: str
    rate_per_minute: Decimal
    connect_fee: Decimal
    talk_seconds: int
    billable_seconds: int
    unrounded: Decimal
    amount: Decimal
    currency: str
    reason: str


class Uncharged(NamedTuple):
    """A call that costs nothing, and why."""

    call_id: int
    reason: str


_UNBILLED = """
SELECT c.id, c.campaign_ref, c.client_number, c.client_number_is_e164, c.direction, c.dialed_at, c.talk_seconds,
       d.disposition
FROM calls AS c
JOIN dispositions AS d ON d.call_id = c.id AND d.call_id BETWEEN :first AND :last
WHERE c.id BETWEEN :first AND :last
  AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.call_id = c.id AND l.call_id BETWEEN :first AND :last)
  AND NOT EXISTS (SELECT FROM uncharged AS u WHERE u.call_id = c.id AND u.call_id BETWEEN :first AND :last)
  AND NOT EXISTS (SELECT FROM failures AS f
                  WHERE f.record_id = c.id AND f.record_id BETWEEN :first AND :last
                    AND f.step = 'bill' AND f.state IN ('open', 'discarded'))
ORDER BY c.id
"""


def unbilled_calls(connection: Connection, batch_id: int) -> list[Unbilled]:
    """The batch's classified calls that have neither a charge nor a reason for none, and are not set aside."""
    rows = connection.execute(text(_UNBILLED), {"first": first_record(batch_id), "last": last_record(batch_id)})
    return [Unbilled(*row) for row in rows]


def insert_lines(connection: Connection, lines: Sequence[Line]) -> None:
    """Append lines; a second line of one call, kind and revision is refused by the database."""
    if lines:
        copy_rows(connection, ledger, Line._fields, lines)


def insert_uncharged(connection: Connection, calls: Sequence[Uncharged]) -> None:
    """Store why calls cost nothing."""
    if calls:
        copy_rows(connection, uncharged, Uncharged._fields, calls)
