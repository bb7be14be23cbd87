"""No log line holds a phone number or a password; what is neither stays readable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.rules.masking import mask_fields, mask_numbers

if TYPE_CHECKING:
    from uuid import UUID


@pytest.mark.parametrize(
    "number",
    [
        "+27820001234", "27820001234", "0820001234", "082 000 1234", "(082) 000-1234", "082-000-1234", "082.000.1234",
        "+27 (0)82 000 1234", "+44 20 7183 8734", "7001234", "+27\u200b82\u202e0001234", "082\xad000\x01-\u20601234",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "around", ["%s", "no rate for %s at noon", '{"number": "%s"}', "x=%s,", "('%s',)", "%s\n", "[%s]"]
)
def test_a_number_in_a_text_is_hidden(number, around):
    """However it is written and wherever it stands."""
    shown = mask_numbers(around % number)
    assert shown == around % "***34"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T15:36:29.982851Z",
        "2026-11-23 15:36:29.982851+00:00",
        "1763890000.42",
        "at 15:36:29.982851",
        "Task cdr.bill[12345678-1234-4564-9138-123456789012] succeeded in 0.0123456789s",
        "done: 2000 records of enigma, 3 set aside",
        "connection to 192.168.100.200 port 5432 failed",
        "redis://127.0.0.1:6379/0",
        "sha256:0123456789012345678901234567890123456789012345678901234567890123",
        'File "/srv/pipeline/tasks/flow.py", line 123456',
        "0.1234567 and 1.5",
        "worker@host-1234567-abc",
    ],
)
def test_what_is_no_number_stays(text):
    """Times, ids, decimals, addresses, counts, paths."""
    assert mask_numbers(text) == text


@given(st.uuids(version=4))
def test_a_task_id_stays(identity: UUID):
    """But for the rare one of digits alone, which would only be hidden."""
    if any(character.isalpha() for character in str(identity).replace("-", "")[:16]):
        assert mask_numbers(f"[{identity}]") == f"[{identity}]"


@given(st.integers(min_value=10**6, max_value=10**15 - 1))
def test_any_number_of_seven_to_fifteen_digits_is_hidden(number):
    """Whatever its digits."""
    assert str(number) not in mask_numbers(f"called {number}, twice")


def test_fields_are_masked_by_key_and_by_text():
    """Known keys whatever their value, others by what is in them, ids never; at any depth."""
    fields = {
        "event": "called 0820001234",
        "client_number": 27820001234,
        "number": "2001",
        "dial_number": None,
        "call_ref": "1234567890",
        "batch_id": 1234567,
        "task_id": "1234567",
        "seconds": 0.12345678,
        "records": 12345678,
        "args": ["0820001234", {"to": "0820001234", "deep": ("0820001234",)}],
        "raw": b"0820001234",
        "error": ValueError("0820001234"),
        "url": "amqp://me:hush@host//",
    }
    assert mask_fields(fields) == {
        "event": "called ***34",
        "client_number": "***34",
        "number": "***01",
        "dial_number": None,
        "call_ref": "1234567890",
        "batch_id": 1234567,
        "task_id": "1234567",
        "seconds": 0.12345678,
        "records": 12345678,
        "args": ["***34", {"to": "***34", "deep": ["***34"]}],
        "raw": "***34",
        "error": "***34",
        "url": "amqp://me:***@host//",
    }


def test_numbers_can_be_shown_and_passwords_cannot():
    """The setting is about numbers."""
    assert mask_fields({"event": "0820001234 amqp://me:hush@host//", "number": "0820001234"}, numbers=False) == {
        "event": "0820001234 amqp://me:***@host//",
        "number": "0820001234",
    }
