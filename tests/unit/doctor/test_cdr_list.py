"""What is said of the dialler's list."""

from __future__ import annotations

import random

import pytest

from pipeline.dialler.rules.list_facts import ListFacts
from pipeline.doctor.rules.cdr_list import judge_ingestor, judge_list, oldest_end
from pipeline.doctor.rules.verdict import Level
from tests.factories import make_record

OLD, NEW = make_record(dialed_at=1_790_000_000), make_record(dialed_at=1_790_000_500)
FACTS = ListFacts(
    name="list", kind="list", waiting=2, left=[NEW], right=[OLD], holder=None, claims=0, oldest_claim_seconds=None
)


def verdict(facts, check, pop_end="right"):
    return next(each for each in judge_list(facts, pop_end) if each.check == check)


@pytest.mark.parametrize(
    ("left", "right", "end"),
    [
        ([OLD], [NEW], "left"),
        ([NEW], [OLD], "right"),
        ([OLD], [OLD], None),
        ([], [], None),
        ([b"rubbish", b"{}", b"[1]", b"\xff", b'{"payload": {"dialed_at": "x"}}'], [NEW], None),
        ([b'{"payload": {"dialed_at": "1790000000"}}'], [NEW], "left"),
    ],
)
def test_the_oldest_end_is_told_by_the_calls(left, right, end):
    """By when they were dialled, as far as that can be read."""
    assert oldest_end(left, right) == end


def test_the_end_taken_from_should_be_the_oldest():
    """Otherwise the setting is named, with its value."""
    assert verdict(FACTS, "oldest end").level is Level.OK
    wrong = verdict(FACTS, "oldest end", pop_end="left")
    assert wrong.level is Level.WARNING
    assert "ENIGMA_POP_END=right" in wrong.remedy
    assert verdict(FACTS._replace(left=[OLD]), "oldest end").level is Level.UNKNOWN


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_told_of_a_shuffled_list(seed):
    """One of two middles is the older one there, too. Of a list in order it is told in spite of some jitter."""
    chance = random.Random(seed)
    in_order = [make_record(dialed_at=1_790_000_000 + 10 * place + chance.randrange(120)) for place in range(100)]
    shuffled = chance.sample(in_order, 100)
    for records, level in ((in_order, Level.WARNING), (shuffled, Level.UNKNOWN)):
        facts = FACTS._replace(waiting=100, left=records[:20], right=records[:-21:-1])
        assert verdict(facts, "oldest end").level is level


def test_two_calls_are_enough():
    """As the runbook says: of a short list each record is at one end only."""
    facts = FACTS._replace(left=[OLD, NEW], right=[NEW, OLD])
    assert "ENIGMA_POP_END=left" in verdict(facts, "oldest end").remedy


def test_the_diallers_own_list_is_refused():
    """Nothing more is said of a list that must not be drained."""
    (only,) = judge_list(FACTS._replace(right=[b'{"type": "queue_calls"}']), "right")
    assert only.level is Level.PROBLEM
    assert "ENIGMA_REDIS_URL" in only.remedy


def test_a_key_of_another_type_is_no_list():
    """Such as a stream of the same name."""
    (only,) = judge_list(FACTS._replace(kind="stream"), "right")
    assert (only.level, only.says) == (Level.PROBLEM, "list is a stream, not a list")


@pytest.mark.parametrize(
    ("claims", "age", "level"),
    [(0, None, Level.OK), (1, 1.0, Level.OK), (2, 60.0, Level.OK), (2, 61.0, Level.PROBLEM)],
)
def test_a_claim_that_stays_open_is_a_problem(claims, age, level):
    """A claim is settled within seconds."""
    facts = FACTS._replace(claims=claims, oldest_claim_seconds=age)
    assert verdict(facts, "open claims").level is level


def test_somebody_holds_the_lease():
    """Or else nobody drains the list."""
    assert judge_ingestor("enigma", "host:1:ab").level is Level.OK
    assert judge_ingestor("enigma", None).level is Level.PROBLEM
