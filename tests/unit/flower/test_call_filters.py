"""A filter of calls in an address: what it means, what it cannot be, and who may ask so."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.flower.calls import filters
from pipeline.flower.calls.reader import is_named
from pipeline.instants import Clock
from pipeline.lookup.rules.call_filter import NO_WALL, CallFilter, FilterRefusedError, Wall

CLOCK = Clock("Africa/Johannesburg")
SINCE = {"since": "2026-11-24"}


def read(given, wall=NO_WALL):
    """What an address asks for, in South Africa."""
    return filters.read_filter(given, CLOCK, wall, region="ZA")


def problems(given, wall=NO_WALL):
    """What is wrong with it, by field."""
    with pytest.raises(FilterRefusedError) as refused:
        read(given, wall)
    return refused.value.problems


def test_what_is_typed_is_read_as_a_person_means_it():
    assert read({"number": "082 000 1234", "source": ""}) == CallFilter(numbers=("+27820001234", "082 000 1234"))
    assert read({"number": "*1234"}) == read({"number": "…1234"}) == CallFilter(number_ends="1234")
    asked = read({**SINCE, "dial_number": "27123456789", "disposition": "busy", "agent": "2001", "charged": "no"})
    assert asked == CallFilter(
        since=datetime(2026, 11, 23, 22, tzinfo=UTC),
        dial_numbers=("+27123456789", "27123456789"),
        disposition="busy",
        agent="2001",
        charged="no",
    )


def test_every_name_of_an_address_narrows():
    """None is taken and forgotten."""
    for name in filters.NAMES:
        value = filters.CHOICES.get(name, ("2026-11-25",))[0]
        assert read({**SINCE, name: value}) != read(SINCE) or name == "since"


def test_what_cannot_be_is_told_at_its_field():
    assert problems({"campaign": "spring"}).keys() == {"since"}
    assert problems({"number": "*12"}).keys() == {"number"}
    assert problems({"since": "yesterday", "until": "soon", "charged": "perhaps"}).keys() == {
        "since",
        "until",
        "charged",
    }
    assert problems({**SINCE, "campaign": "a\0"}).keys() == {"campaign"}


@pytest.mark.parametrize("given", [{"number": "0820001234"}, {"number": "*1"}, {**SINCE, "dial_number": "1"}])
def test_who_sees_no_numbers_searches_by_none(given):
    assert set(problems(given, Wall(numbers=False)).values()) == {
        "is not for you to search by: you see no phone numbers"
    }


def test_a_form_shows_times_as_a_browser_has_them():
    assert filters.as_fields({"since": "2026-03-31T14:30Z", "until": "soon"}, CLOCK) == {
        "since": "2026-03-31T16:30:00",
        "until": "soon",
    }


@pytest.mark.parametrize(
    ("person", "users", "named"),
    [("thandi", "*", True), (None, "*", True), ("thandi", "sipho,thandi", True), ("than", "thandi", False)],
)
def test_who_is_named(person, users, named):
    assert is_named(person, users) is named
    assert not is_named(person, "")
    assert not is_named(None, "thandi")
