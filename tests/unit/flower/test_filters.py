"""A filter in an address: what it means, and what it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failures.listing import FailureFilter
from pipeline.flower.failures import filters
from pipeline.flower.failures.filters import CHOICES, NAMES, TEXTS, FilterError, as_given, as_query
from pipeline.instants import Clock


def read_filter(asked):
    """In a zone two hours ahead of UTC."""
    return filters.read_filter(asked, Clock("Africa/Johannesburg"))


def test_nothing_asked_for_is_what_waits():
    """Open, or on its way again."""
    assert read_filter({}) == FailureFilter(states=("open", "retrying"))
    assert read_filter(dict.fromkeys(NAMES, "")) == read_filter({})


@pytest.mark.parametrize(
    ("state", "states"),
    [("waiting", ("open", "retrying")), ("any", None), ("open", ("open",)), ("discarded", ("discarded",))],
)
def test_states(state, states):
    """One state, those that wait, or all."""
    assert read_filter({"state": state}).states == states


@pytest.mark.parametrize(
    ("given_text", "instant"),
    [
        ("2026-03-31T14:30", datetime(2026, 3, 31, 12, 30, tzinfo=UTC)),
        ("2026-03-31", datetime(2026, 3, 30, 22, tzinfo=UTC)),
        ("2026-03-31T14:30Z", datetime(2026, 3, 31, 14, 30, tzinfo=UTC)),
        ("2026-03-31T14:30+03:00", datetime(2026, 3, 31, 14, 30, tzinfo=timezone(timedelta(hours=3)))),
    ],
)
def test_instants_are_of_the_zone_unless_they_say_otherwise(given_text, instant):
    """As a browser's field gives them, and as a person writes them."""
    assert read_filter({"since": given_text}).since == instant


def test_in_words_instants_are_shown_in_the_zone():
    """However an address writes them, those in UTC of other pages included; what is none stays as it was typed."""
    clock = Clock("Africa/Johannesburg")
    given = as_given(FailureFilter(states=("open", "retrying"), since=datetime(2026, 3, 31, 12, 30, tzinfo=UTC)))
    assert filters.in_words(given, clock) == "since 2026-03-31 14:30:00 SAST"
    assert filters.in_words({"since": "2026-03-31", "until": "soon"}, clock) == (
        "since 2026-03-31 00:00:00 SAST, until soon"
    )


@pytest.mark.parametrize(
    "bad",
    [{"class": "nope"}, {"step": "rate"}, {"state": "closed"}, {"since": "yesterday"}, {"until": "1"}, {"text": "\0"}],
)
def test_what_no_filter_can_be_is_refused(bad):
    """With the field's name."""
    with pytest.raises(FilterError, match=next(iter(bad)) if "text" not in bad else "NUL"):
        read_filter(bad)


TYPED = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.sampled_from(options) for name, options in CHOICES.items()}
        | {name: st.text(TYPED, min_size=1) for name in TEXTS},
    )
)
def test_an_address_says_the_same_as_the_form(asked):
    """Whatever is typed comes back as it was out of the address."""
    assert dict(parse_qsl(as_query(asked), keep_blank_values=True)) == asked
    assert read_filter(as_given(read_filter(asked))) == read_filter(asked)


def test_all_that_is_wrong_is_said_at_once():
    """By the names of the fields, which is where it is shown."""
    with pytest.raises(FilterError) as refused:
        read_filter({"class": "nope", "since": "yesterday", "text": "fine"})
    assert list(refused.value.problems) == ["class", "since"]
