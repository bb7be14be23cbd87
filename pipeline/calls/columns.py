"""The columns of a call, named once: COPY, INSERT and the content of a conflict are made of this.

Besides the table only `accept_conflict` names them, the database's own function: no worker may change a call itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from pipeline.calls.rules.phone_numbers import Number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.calls.rules.cdr import Cdr


class NewCall(NamedTuple):
    """A call about to be stored under its record's id."""

    record_id: int
    cdr: Cdr


class CallColumn(NamedTuple):
    """A column of `calls`."""

    type: str
    value: str
    """Where it comes from: an expression of `record_id`, `source`, `cdr` and its two numbers, `client` and `dial`."""


COLUMNS: Final = {
    "id": CallColumn("bigint", "record_id"),
    "source": CallColumn("text", "source"),
    "call_ref": CallColumn("text", "cdr.call_ref"),
    "campaign_ref": CallColumn("text", "cdr.campaign_ref"),
    "contact_ref": CallColumn("text", "cdr.contact_ref"),
    "extension": CallColumn("text", "cdr.extension"),
    "client_number": CallColumn("text", "client.value"),
    "client_number_original": CallColumn("text", "client.original"),
    "client_number_is_e164": CallColumn("boolean", "client.is_e164"),
    "dial_number": CallColumn("text", "dial.value"),
    "dial_number_original": CallColumn("text", "dial.original"),
    "dial_number_is_e164": CallColumn("boolean", "dial.is_e164"),
    "direction": CallColumn("text", "cdr.direction"),
    "dialed_at": CallColumn("timestamptz", "cdr.dialed_at"),
    "talk_seconds": CallColumn("integer", "cdr.talk_seconds"),
    "hold_seconds": CallColumn("integer", "cdr.hold_seconds"),
    "end_reason": CallColumn("text", "cdr.end_reason"),
    "end_code": CallColumn("integer", "cdr.end_code"),
    "recording_url": CallColumn("text", "cdr.recording_url"),
    "recording_url_sent": CallColumn("boolean", "cdr.recording_url_sent"),
    "extra": CallColumn("jsonb", "Jsonb(cdr.extra) if cdr.extra else None"),
    "content_hash": CallColumn("bytea", "cdr.content_hash"),
    "record_kind": CallColumn("text", "cdr.kind"),
}
"""Every column but those the database fills, in the order of `row_of`."""
KEY: Final = ("call_ref", "source", "record_id")
"""The columns of `call_keys`."""

# Compiled once, to one display of a tuple: getters, called one by one, took up to a fifth longer for each call.
_values: Callable[..., tuple[Any, ...]] = eval(  # noqa: S307 - of the lines above, of nothing that came in
    f"lambda record_id, source, cdr, client, dial: ({', '.join(column.value for column in COLUMNS.values())})",
    {"Jsonb": Jsonb},
)
NO_NUMBER: Final = Number(None, None, is_e164=False)  # type: ignore[arg-type]
"""What stands in the columns of a number that was not sent."""


def row_of(source: str, new: NewCall) -> tuple[Any, ...]:
    """A call's values, one for each of `COLUMNS`."""
    cdr = new.cdr
    return _values(new.record_id, source, cdr, cdr.client_number or NO_NUMBER, cdr.dial_number or NO_NUMBER)


def insert_into_calls() -> str:
    """The statement that stores rows given as one list a column, leaving out those whose key is taken."""
    lists = ", ".join(f"cast(:{name} AS {column.type}[])" for name, column in COLUMNS.items())
    return _insert(f"SELECT * FROM unnest({lists}) AS given ({', '.join(COLUMNS)})")


def insert_one_into_calls() -> str:
    """The same of a single row, given as `row_of` has it, for the driver."""
    values = ", ".join(f"cast(%s AS {column.type})" for column in COLUMNS.values())
    return _insert(f"SELECT * FROM (VALUES ({values})) AS given ({', '.join(COLUMNS)})")


def _insert(given: str) -> str:
    """Store what a query gives.

    The key of all time is entered first, by the order of the rows. Tables that are not ranges yet may have calls whose
    key is not entered: their own key is that of all calls, and refuses too.
    """
    names = ", ".join(COLUMNS)
    return (
        f"WITH given AS MATERIALIZED ({given}), "
        f"entered AS (INSERT INTO call_keys ({', '.join(KEY)}) SELECT call_ref, source, id FROM given "
        "ON CONFLICT DO NOTHING RETURNING record_id) "
        f"INSERT INTO calls ({names}) SELECT {names} FROM given WHERE id IN (SELECT record_id FROM entered) "
        "ON CONFLICT DO NOTHING RETURNING id"
    )


def lists_of(rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows as one list a column."""
    return {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}


def content_of(source: str, new: NewCall) -> dict[str, Any]:
    """A call as PostgreSQL's own `to_jsonb` writes a row of `calls`."""
    return {name: _as_json(value) for name, value in zip(COLUMNS, row_of(source, new), strict=True)}


def _as_json(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return f"\\x{value.hex()}"
        case Jsonb():
            return value.obj
        case _:
            return value
