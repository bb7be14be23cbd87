"""What may be asked of calls, and what a place among them looks like."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lookup.rules.call_filter import (
    CHOICES,
    NO_WALL,
    CallFilter,
    Cursor,
    FilterRefusedError,
    Wall,
    check_filter,
    number_forms,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MASKED = Wall(numbers=False)


def problems(wanted, wall=NO_WALL):
    """What is wrong with a filter, by field."""
    try:
        check_filter(wanted, wall)
    except FilterRefusedError as error:
        return error.problems
    return {}


@pytest.mark.parametrize(
    "fields", [{"call_ref": "1"}, {"contact_ref": "a"}, {"numbers": ("+27820001234",)}, {"number_ends": "1234"}]
)
def test_who_names_one_of_few_need_name_no_time(fields):
    assert not problems(CallFilter(**fields))


@pytest.mark.parametrize(
    "fields", [{}, {"campaign": "c"}, {"agent": "2001"}, {"dial_numbers": ("1",)}, {"charged": "no"}, {"until": NOW}]
)
def test_else_a_time_is_needed(fields):
    assert problems(CallFilter(**fields)) == {
        "since": "is missing: say since when, or name a call, a contact or a number"
    }
    assert not problems(CallFilter(since=NOW - timedelta(days=1), **fields))


@pytest.mark.parametrize("digits", ["", "123", "12a4", "1" * 16, "١٢٣٤", "+1234", "1234\n"])
def test_the_end_of_a_number_is_four_digits_or_more(digits):
    assert list(problems(CallFilter(number_ends=digits))) == ["number_ends"]


@pytest.mark.parametrize(
    "fields", [{"numbers": ("+27820001234",)}, {"number_ends": "1234"}, {"number_ends": "1"}, {"dial_numbers": ("1",)}]
)
def test_who_sees_no_numbers_searches_by_none(fields):
    """And gets the same answer whatever the number is."""
    [problem] = problems(CallFilter(since=NOW, **fields), MASKED).values()
    assert problem == "is not for you to search by: you see no phone numbers"


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_none_is_refused_with_those_there_are(name):
    assert problems(CallFilter(since=NOW, **{name: "perhaps"})) == {name: f"must be one of {', '.join(CHOICES[name])}"}


def test_time_goes_forward():
    assert list(problems(CallFilter(since=NOW, until=NOW))) == ["until"]


@pytest.mark.parametrize("text", ["a\0b", "a" * 1_001])
def test_a_text_that_no_column_holds_is_refused(text):
    for fields in ({"campaign": text}, {"numbers": ("1", text)}, {"why_not": text}):
        assert set(problems(CallFilter(since=NOW, **fields))) == set(fields)


def test_a_number_is_looked_for_as_it_is_stored_and_as_it_was_typed():
    assert number_forms("+27820001234", "ZA") == ("+27820001234",)
    assert number_forms("anonymous", "ZA") == ("anonymous",)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)), st.integers(0, 2**63 - 1))  # noqa: DTZ001
def test_a_cursor_is_read_back(at, call_id):
    cursor = Cursor(at.replace(tzinfo=UTC), call_id)
    assert Cursor.read(cursor.text) == cursor


@given(st.text(max_size=90))
def test_what_is_no_cursor_is_refused(text):
    """In one way, whatever it is."""
    with contextlib.suppress(ValueError):
        text = Cursor.read(text).text
        assert Cursor.read(text).text == text
        return
    with pytest.raises(ValueError, match="must be a cursor that an answer before gave"):
        Cursor.read(text)
