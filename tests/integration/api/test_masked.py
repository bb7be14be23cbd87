"""Whoever may not see numbers cannot find one out: not by what is told, by what may be asked, nor by the order."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.access.rules.masking import HIDDEN, masked
from tests.integration.api.conftest import NUMBER
from tests.integration.api.test_calls import SINCE, refs

NUMBERS = ("+27820001234", "0820001234", "820001234", "27123456789", "+27830005678", "0830005678", "9999999999999")
PARTS = {number[start : start + 5] for number in NUMBERS for start in range(len(number) - 4)}
"""Any five digits in a row of any number that is stored."""


@pytest.mark.parametrize("call", ["enigma/1", "enigma/3", "enigma/4"])
def test_nothing_of_a_number_is_told_of_a_call(world, call):
    """Though the failure of its conflict, its path on the dialler, its prefix and its unknown fields have it."""
    told = world.get(f"/v1/calls/{call}", token="masked").text
    plain = world.get(f"/v1/calls/{call}").text
    assert any(part in plain for part in PARTS), "there is something to hide"
    assert not [part for part in PARTS if part in told]
    shown = json.loads(told)
    assert shown["call"]["client_number"] == HIDDEN
    assert shown["call"]["extra"] is None
    assert {each["prefix"] for each in shown["charges"]} <= {HIDDEN}


def test_nothing_of_a_number_is_in_a_list(world):
    """Not its last digits either."""
    answered = world.get("/v1/calls", token="masked", params=SINCE)
    assert len(refs(answered)) == 5
    assert {each["number"] for each in answered.json()["calls"]} == {HIDDEN}
    assert {each["dial_number"] for each in answered.json()["calls"]} == {HIDDEN}


@pytest.mark.parametrize("name", ["number", "number_ends", "dial_number"])
def test_filters_of_numbers_are_refused_whatever_is_asked(world, name):
    """The same for a number that is there, one that is not, and none."""
    before = len(world.log())
    answers = [
        world.get("/v1/calls", token="masked", params=SINCE | {name: value}) for value in (NUMBER, "1234", "5555", "x")
    ]
    wrong = [each for each in answers if each.status_code == 400]  # what is no end of a number is said to be none
    assert {answered.status_code for answered in answers if answered not in wrong} == {403}
    assert len({answered.content for answered in answers if answered not in wrong}) == 1
    assert len(world.log()) == before, "nobody looked for anything"


def test_the_order_says_nothing_of_numbers(world):
    """Calls come in the order in which they were dialled, to whoever asks; no other can be asked for."""
    assert refs(world.get("/v1/calls", token="masked", params=SINCE)) == refs(world.get("/v1/calls", params=SINCE))
    for name in ("sort", "order", "order_by"):
        assert world.get("/v1/calls", token="masked", params=SINCE | {name: "number"}).status_code == 400


def test_no_other_filter_matches_a_number(world):
    """A number put where it does not belong finds nothing that it would not find otherwise."""
    for name in ("contact_ref", "call_ref", "agent", "campaign", "source", "why_not"):
        for number in NUMBERS[:3]:
            assert refs(world.get("/v1/calls", token="masked", params=SINCE | {name: number})) == []


def test_places_of_pages_hold_no_number(world):
    shown = world.get("/v1/calls", token="masked", params=SINCE | {"limit": 1}).json()
    plain = world.get("/v1/calls", params=SINCE | {"limit": 1}).json()
    assert shown["older"] == plain["older"]


def test_a_recordings_headers_hold_no_number(world):
    answered = world.get("/v1/calls/enigma/1/recording", token="masked")
    assert answered.status_code == 200
    assert not [part for part in PARTS if part in str(answered.headers.get("Content-Disposition"))]


_TOLD = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reason", "why", "detail", "prefix", "extra", "recording_url", "number", "client_number"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_TOLD, st.text("0123456789", min_size=1, max_size=15))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_digit_is_left_where_a_number_may_stand(told, number):
    """Whatever the rows hold."""
    shown = masked(
        {"reason": f"no rate for {number}", "number": number, "extra": told, "detail": number, "why": number}
    )
    assert not re.search(r"\d", json.dumps(shown))
