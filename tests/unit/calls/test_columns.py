"""The columns of a call: all that the table has, each with its own value."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy.dialects import postgresql

from pipeline.calls.columns import COLUMNS, NewCall, content_of, insert_into_calls, lists_of, row_of
from pipeline.calls.rules.cdr import Cdr
from pipeline.calls.rules.phone_numbers import Number
from pipeline.database.tables import calls

DIALED_AT = datetime(2026, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
CDR = Cdr(
    call_ref="call",
    campaign_ref="campaign",
    contact_ref="contact",
    extension="extension",
    client_number=Number("+27110000001", "011 000 0001", is_e164=True),
    dial_number=Number("12", "1-2", is_e164=False),
    direction="outbound",
    dialed_at=DIALED_AT,
    talk_seconds=61,
    hold_seconds=7,
    end_reason="Hangup",
    end_code=16,
    recording_url="https://dialler.example/call",
    recording_url_sent=True,
    extra={"agent": "a"},
    content_hash=b"\x01\xff",
)
STORED = {
    "id": 5,
    "source": "north",
    "call_ref": "call",
    "campaign_ref": "campaign",
    "contact_ref": "contact",
    "extension": "extension",
    "client_number": "+27110000001",
    "client_number_original": "011 000 0001",
    "client_number_is_e164": True,
    "dial_number": "12",
    "dial_number_original": "1-2",
    "dial_number_is_e164": False,
    "direction": "outbound",
    "dialed_at": DIALED_AT,
    "talk_seconds": 61,
    "hold_seconds": 7,
    "end_reason": "Hangup",
    "end_code": 16,
    "recording_url": "https://dialler.example/call",
    "recording_url_sent": True,
    "extra": {"agent": "a"},
    "content_hash": b"\x01\xff",
    "record_kind": None,
}
NOTHING: dict[str, Any] = {"client_number": None, "dial_number": None, "extra": {}}


def plain(row: tuple[object, ...]) -> dict[str, object]:
    return {name: value.obj if isinstance(value, Jsonb) else value for name, value in zip(COLUMNS, row, strict=True)}


def test_they_are_all_that_the_database_does_not_fill() -> None:
    assert set(COLUMNS) == {column.name for column in calls.columns if column.server_default is None}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_type_is_that_of_the_table(name: str) -> None:
    declared = {"timestamptz": "timestamp with time zone"}.get(COLUMNS[name].type, COLUMNS[name].type)
    compiled = calls.c[name].type.compile(postgresql.dialect())
    assert compiled.partition(" COLLATE ")[0].lower() == declared


def test_each_has_its_own_value() -> None:
    assert plain(row_of("north", NewCall(5, CDR))) == STORED


def test_a_call_without_numbers_and_more() -> None:
    row = plain(row_of("north", NewCall(5, _without())))
    numbers = {
        f"{number}{ending}": value
        for number in ("client_number", "dial_number")
        for ending, value in (("", None), ("_original", None), ("_is_e164", False))
    }
    assert row == {**STORED, **numbers, "extra": None}


def test_every_field_of_a_record_is_in_a_column() -> None:
    assert set(Cdr.__struct_fields__) - {"kind"} <= set(COLUMNS)
    assert COLUMNS["record_kind"].value == "cdr.kind"


def test_the_content_of_a_conflict_is_as_to_jsonb_writes_it() -> None:
    assert content_of("north", NewCall(5, CDR)) == {
        **STORED,
        "dialed_at": "2026-03-01T12:30:15.250000+00:00",
        "content_hash": "\\x01ff",
    }
    assert json.dumps(content_of("north", NewCall(5, _without())))


def test_a_list_a_column() -> None:
    rows = [row_of("north", NewCall(number, CDR)) for number in (5, 6)]
    lists = lists_of(rows)
    assert list(lists) == list(COLUMNS)
    assert lists["id"] == [5, 6]
    assert lists["content_hash"] == [CDR.content_hash] * 2


def test_the_statement_gives_each_list_its_type() -> None:
    statement = insert_into_calls()
    for name, column in COLUMNS.items():
        assert f"cast(:{name} AS {column.type}[])" in statement


def _without() -> Cdr:
    return Cdr(**{**{name: getattr(CDR, name) for name in Cdr.__struct_fields__}, **NOTHING})
