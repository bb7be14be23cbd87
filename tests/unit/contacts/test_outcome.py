"""What a contact comes to, by the set of its calls alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.calls.rules.disposition import CONSEQUENCES, Disposition
from pipeline.contacts.rules.outcome import (
    MOST_CALLS,
    RANKING,
    CallOfContact,
    NumberTried,
    Outcome,
    best_of,
    numbers_tried,
    outcome_of,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(call_id: int, disposition: str = "busy", **changes) -> CallOfContact:
    made = CallOfContact(call_id, str(call_id), NOON, disposition, "+27820001234", None, 0)
    return made._replace(**changes)


@st.composite
def some_calls(draw):
    """Few moments and dispositions, so that many are alike."""
    dispositions = st.sampled_from([*Disposition, "of another version"])
    return [
        call(
            number,
            draw(dispositions),
            call_ref=draw(st.sampled_from(("7", "10", "a"))) + f"-{number}",
            dialed_at=NOON + timedelta(seconds=draw(st.integers(0, 2))),
            number=draw(st.sampled_from((None, "", "+27820001234", "+27820005678"))),
            agent=draw(st.sampled_from((None, "2001"))),
            talk_seconds=draw(st.integers(0, 90)),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@given(some_calls(), st.data())
def test_any_order_and_repeats_come_to_the_same(calls, data):
    again = data.draw(st.permutations([*calls, *data.draw(st.lists(st.sampled_from(calls), max_size=4))]))
    assert outcome_of(again) == outcome_of(calls)
    assert numbers_tried(again) == numbers_tried(calls)


def test_every_disposition_has_its_rank():
    assert sorted(RANKING) == sorted(Disposition)
    ranks = [CONSEQUENCES[each].person_reached for each in RANKING]
    assert ranks == sorted(ranks, reverse=True), "who reached a person ranks above who did not"


def test_one_answer_decides_whichever_number_it_was():
    answered = call(2, "answered", number="+27820005678", agent="2001", talk_seconds=79, dialed_at=NOON)
    calls = [
        call(1, "no_answer", dialed_at=NOON - timedelta(hours=1)),
        answered,
        call(3, "abandoned", dialed_at=NOON - timedelta(minutes=5)),
        call(4, "busy", dialed_at=NOON + timedelta(hours=1)),
    ]
    assert outcome_of(calls) == Outcome(
        attempts=4,
        outcome="answered",
        final=True,
        first_at=NOON - timedelta(hours=1),
        last_at=NOON + timedelta(hours=1),
        reached_at=NOON - timedelta(minutes=5),
        agent="2001",
        talk_seconds=79,
        best_call_id=2,
    )
    assert numbers_tried(calls) == [
        NumberTried("+27820005678", 1, "answered", NOON),
        NumberTried("+27820001234", 3, "abandoned", NOON + timedelta(hours=1)),
    ]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"disposition": "abandoned"}, {"disposition": "voicemail", "dialed_at": NOON + timedelta(days=1)}),
        ({"dialed_at": NOON + timedelta(seconds=1), "call_ref": "1"}, {"call_ref": "9"}),
        ({"call_ref": "9"}, {"call_ref": "10"}),
        ({"call_ref": "é"}, {"call_ref": "z"}),
    ],
    ids=["rank", "then the last", "then the reference", "by its bytes"],
)
def test_which_call_is_the_best(better, worse):
    one, other = call(1, **better), call(2, **worse)
    assert best_of([one, other]) == best_of([other, one]) == one


def test_nobody_has_so_many_calls():
    calls = [call(number) for number in range(MOST_CALLS + 5)]
    assert outcome_of(calls[:MOST_CALLS]).outcome == "busy"
    assert outcome_of(calls) == Outcome(MOST_CALLS + 1)
    assert outcome_of([]) == Outcome(0)
