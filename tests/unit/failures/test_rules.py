"""A change to a record, and what differs between two."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.failures.rules.change import CannotChangeError, Change, changed, problem_of
from pipeline.failures.rules.differing import Differing, differing_fields

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
PAYLOADS = st.dictionaries(st.text(), VALUES, max_size=5)


def record(payload):
    return json.dumps({"type": "cdr", "payload": payload}).encode()


@given(PAYLOADS, VALUES)
def test_renaming_there_and_back_changes_nothing(payload, value):
    """Not the order either, nor anything else in the record."""
    payload = {name: each for name, each in payload.items() if name not in {"duration", "call_time"}}
    before = record({"a": 1, "duration": value, **payload})
    there = changed(before, Change("rename", "payload.duration", "call_time"))
    assert list(json.loads(there)["payload"])[:2] == ["a", "call_time"]
    assert json.loads(changed(there, Change("rename", "call_time", "duration"))) == json.loads(before)


@pytest.mark.parametrize(
    ("typed", "value"), [("16", 16), ('"16"', "16"), ("busy", "busy"), ("null", None), ("", ""), ("[1", "[1")]
)
def test_a_value_is_json_or_a_text_as_it_stands(typed, value):
    """Whoever means the text 16 puts it in quotes."""
    assert json.loads(changed(record({"x": 1}), Change("set", "x", typed)))["payload"] == {"x": value}


def test_the_type_is_beside_the_payload():
    """The one field that is."""
    assert json.loads(changed(b'{"payload": {}}', Change("set", "type", "cdr"))) == {"payload": {}, "type": "cdr"}


@pytest.mark.parametrize("raw", [b"rubbish", b"[]", b'{"payload": 5}', b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_record_with_a_payload_is_not_changed(raw):
    """A person has to look at it."""
    with pytest.raises(CannotChangeError):
        changed(raw, Change("set", "x", "1"))


@pytest.mark.parametrize("payload", [{}, {"duration": 5, "call_time": 6}])
def test_nothing_is_overwritten_by_a_renaming(payload):
    """Which of the two is right is nobody's to guess; one that is null says nothing."""
    with pytest.raises(CannotChangeError, match=r"has no|has both"):
        changed(record(payload), Change("rename", "duration", "call_time"))
    after = changed(record({"duration": 5, "call_time": None}), Change("rename", "duration", "call_time"))
    assert json.loads(after)["payload"] == {"call_time": 5}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (Change("rename", " ", "x"), "field"),
        (Change("set", "payload.", "x"), "field"),
        (Change("rename", "x", ""), "to"),
        (Change("rename", "x", "payload.x"), "to"),
        (Change("set", "x", "\0"), "to"),
        (Change("rename", "type", "x"), "field"),
        (Change("set", "x", ""), None),
    ],
)
def test_a_change_that_cannot_be_names_its_input(change, field):
    """Before any record is looked at."""
    problem = problem_of(change)
    assert (problem and problem[0]) == field


@example({"": {"": None}, ".": []})
@given(PAYLOADS)
def test_a_record_does_not_differ_from_itself(payload):
    """However it is laid out."""
    other = json.dumps({"payload": dict(reversed(payload.items())), "type": "cdr"}, indent=3).encode()
    assert differing_fields(record(payload), other) == []


def test_only_what_differs_is_told():
    """Not its neighbours."""
    assert differing_fields(
        record({"a": 1, "b": {"c": [1]}, "d": 2}), record({"a": 1, "b": {"c": [2]}, "e": None})
    ) == [
        Differing("payload.b.c", "[1]", "[2]"),
        Differing("payload.d", "2", None),
        Differing("payload.e", None, "null"),
    ]
    assert differing_fields(b"rubbish", record({})) == [Differing("record", "rubbish", record({}).decode())]
