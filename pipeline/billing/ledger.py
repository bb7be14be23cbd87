"""The ledger: what each call is charged, and why a call is not. Lines are only ever inserted."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import not_set_aside
from pipeline.billing.rules.pricing import Line, LineKind, Unbilled, Uncharged
from pipeline.billing.rules.sides import Side
from pipeline.calls.columns import NO_NUMBER
from pipeline.database.engine import copy_rows, execute
from pipeline.database.tables import ledger, uncharged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from sqlalchemy import Connection, Table

    from pipeline.batches.rules.batch import Span
    from pipeline.calls.in_hand import Classified

    Row = tuple[object, ...]


_OF_PROVIDER: Final = ("source", "answered_seconds")
_ADDED: Final = ("network",)
"""Looked up afterwards, and only where rates go by it."""
_NOT_OF_THE_CALL = {
    "call_id": "c.id",
    "disposition": "d.disposition",
    "revision": "coalesce(l.revision, 0) + 1",
    "answered_seconds": "s.seconds",
}


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f"{_NOT_OF_THE_CALL.get(name, f'c.{name}')} AS {name}" for name in names)


UNBILLED_COLUMNS: Final = _columns(name for name in Unbilled._fields if name not in {*_OF_PROVIDER, *_ADDED})
"""What to select for an `Unbilled` of the client's side: from a call `c`, its disposition `d` and the `revision` of
its last line, `l`."""
UNBILLED_COLUMNS_OF: Final = {
    Side.CLIENT: UNBILLED_COLUMNS,
    Side.PROVIDER: _columns(name for name in Unbilled._fields if name not in _ADDED),
}
"""The same of each side; the provider's needs the `answered_seconds`, `s`, too."""


def sign_of(kind: str) -> str:
    """What a line of the ledger counts for, in SQL."""
    return f"CASE {kind} WHEN '{LineKind.CHARGE}' THEN {LineKind.CHARGE.sign} ELSE {LineKind.REVERSAL.sign} END"


# A call has a charge in force when it was charged once more than reversed; until then it is to be billed, and the new
# line's revision follows the last. `l` is empty the first time a batch is billed. A call that is set aside waits for
# its client's charge: what the provider charges has nothing to do with that.
_UNBILLED: Final = {
    side: f"""
SELECT {UNBILLED_COLUMNS_OF[side]}
FROM calls AS c
JOIN dispositions AS d ON d.call_id = c.id AND d.call_id BETWEEN %(first)s AND %(last)s
LEFT JOIN (SELECT call_id, max(revision) AS revision, sum({sign_of("kind")}) AS in_force
           FROM ledger WHERE call_id BETWEEN %(first)s AND %(last)s AND side = '{side}'
           GROUP BY call_id) AS l ON l.call_id = c.id
{more}WHERE c.id BETWEEN %(first)s AND %(last)s
  AND coalesce(l.in_force, 0) = 0
  AND NOT EXISTS (SELECT FROM uncharged AS u
                  WHERE u.call_id = c.id AND u.side = '{side}' AND u.call_id BETWEEN %(first)s AND %(last)s)
{unless}ORDER BY c.id
"""
    for side, more, unless in (
        (Side.CLIENT, "", f"  AND {not_set_aside('c.id', Step.BILL)}\n"),
        (
            Side.PROVIDER,
            "LEFT JOIN answered_seconds AS s ON s.call_id = c.id AND s.call_id BETWEEN %(first)s AND %(last)s\n",
            "",
        ),
    )
}


def unbilled_calls(connection: Connection, span: Span, side: Side = Side.CLIENT) -> list[Unbilled]:
    """The classified calls that have neither a charge in force nor a reason for none on a side.

    On the client's side those that are set aside are left out.
    """
    rest = _NOT_SELECTED[side]
    return [Unbilled._make(row + rest) for row in execute(connection, _UNBILLED[side], span.bounds).fetchall()]


# A call by its keywords or by its defaults is made half as fast as one of a tuple of all its fields.
_NOT_SELECTED: Final = {
    side: tuple(Unbilled._field_defaults[name] for name in names)
    for side, names in ((Side.CLIENT, (*_OF_PROVIDER, *_ADDED)), (Side.PROVIDER, _ADDED))
}


def of_classified(one: Classified) -> Unbilled:
    """The same of a call that this transaction has stored and classified, on the client's side."""
    cdr = one.call.cdr
    client, dial = cdr.client_number or NO_NUMBER, cdr.dial_number or NO_NUMBER
    values = (
        one.call.record_id,
        cdr.campaign_ref,
        client.value,
        client.is_e164,
        cdr.direction,
        cdr.dialed_at,
        cdr.talk_seconds,
        one.result.disposition.value,
        1,
        cdr.hold_seconds,
        dial.value,
        dial.is_e164,
    )
    return Unbilled._make(values + _NOT_SELECTED[Side.CLIENT])


def insert_lines(connection: Connection, lines: Sequence[Line], side: Side = Side.CLIENT) -> None:
    """Append lines; a second line of one call, side, kind and revision is refused by the database."""
    _copy(connection, ledger, Line._fields, lines, side)


def _copy(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row], side: Side) -> None:
    """Rows of a side; that of the client is the columns' own default, and costs nothing to say."""
    if rows and side is Side.CLIENT:
        copy_rows(connection, table, columns, rows)
    elif rows:
        sided = ((*row, of) for row, of in zip(rows, repeat(side.value), strict=False))
        copy_rows(connection, table, (*columns, "side"), sided)


def reverse_charges(
    connection: Connection,
    call_ids: Sequence[int],
    reason: str,
    *,
    rerate_id: int | None = None,
    side: Side = Side.CLIENT,
) -> int:
    """Take back a side's charge in force of each call, by an equal and opposite line; returns how many there were.

    The caller holds the bill step of the calls' batches, and sees to it that they are billed again.
    """
    result = connection.execute(
        text(
            f"INSERT INTO ledger ({_KEPT}, side, kind, unrounded, amount, reason, rerate_id) "
            f"SELECT {_KEPT}, side, '{LineKind.REVERSAL}', -unrounded, -amount, :reason, cast(:rerate_id AS bigint) "
            # A call's last line is its charge in force, or the reversal of it. Looked up a call at a time: a join with
            # the reversals there are is planned as if there were still none, and takes ever longer.
            "FROM unnest(cast(:call_ids AS bigint[])) AS wanted (id) CROSS JOIN LATERAL "
            "  (SELECT * FROM ledger WHERE call_id = wanted.id AND side = :side "
            "   ORDER BY revision DESC, kind DESC LIMIT 1) AS l "
            f"WHERE l.kind = '{LineKind.CHARGE}'"
        ),
        {"call_ids": list(call_ids), "reason": reason, "rerate_id": rerate_id, "side": side.value},
    )
    return int(result.rowcount)


class InForce(NamedTuple):
    """The charge that stands for a call."""

    amount: Decimal
    currency: str


def charges_in_force(connection: Connection, call_ids: Sequence[int]) -> dict[int, InForce]:
    """What each of these calls' clients is charged; one that is not charged, or no longer, is left out."""
    rows = connection.execute(
        text(
            "SELECT wanted.id, l.amount, l.currency FROM unnest(cast(:call_ids AS bigint[])) AS wanted (id) "
            "CROSS JOIN LATERAL (SELECT kind, amount, currency FROM ledger "
            "                    WHERE call_id = wanted.id AND side = 'client' "
            "                    ORDER BY revision DESC, kind DESC LIMIT 1) AS l "
            "WHERE l.kind = 'charge'"
        ),
        {"call_ids": list(call_ids)},
    )
    return {row.id: InForce(row.amount, row.currency) for row in rows}


_KEPT = (
    "call_id, revision, tariff_version_id, rate_line, prefix, rate_per_minute, connect_fee, talk_seconds, "
    "rated_seconds, billable_seconds, currency"
)
"""What a reversal has in common with its charge."""


def insert_uncharged(connection: Connection, calls: Sequence[Uncharged], side: Side = Side.CLIENT) -> None:
    """Store why calls cost nothing on a side, or of the provider's why that is not known."""
    _copy(connection, uncharged, Uncharged._fields, calls, side)
