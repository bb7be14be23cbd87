"""When the last records are judged."""

from __future__ import annotations

import pytest

from pipeline.ingest.rules.judging import Judging


@pytest.fixture
def trusting() -> Judging:
    """It has seen enough, a moment ago."""
    judging = Judging(1.0)
    judging.judged(10.0, records=100)
    return judging


def test_a_list_not_known_is_judged_each_time() -> None:
    """Until a hundred records of it were seen."""
    judging = Judging(1.0)
    assert judging.due(0.0)
    judging.judged(0.0, records=99)
    assert judging.due(0.0)
    assert not judging.trusted


def test_a_trickle_is_judged_once_a_second(trusting: Judging) -> None:
    """Not at each claim."""
    trusting.claimed(99)
    assert not trusting.due(10.9)
    assert trusting.due(11.0)


def test_a_flood_is_judged_before_each_claim(trusting: Judging) -> None:
    """A hundred records on their way since may all have been bad."""
    trusting.claimed(60)
    trusting.claimed(40)
    assert trusting.due(10.0)
    trusting.judged(10.0, records=100)
    assert not trusting.due(10.0)


def test_it_is_judged_when_there_was_no_room(trusting: Judging) -> None:
    """What made room was done, be it well or badly."""
    trusting.found_full()
    assert trusting.due(10.0)
    trusting.judged(10.0, records=100)
    assert not trusting.due(10.0)
