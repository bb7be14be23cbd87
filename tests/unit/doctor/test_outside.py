"""What is said of the store, the dialler's API and the clocks."""

from __future__ import annotations

import errno

import pytest

from pipeline.dialler.rules.answers import Away, Broken, NoSuchCall, NotReady, Refused, Throttled
from pipeline.doctor.rules.outside import Clock, judge_api, judge_clocks, judge_paths, judge_store, judge_store_error
from pipeline.doctor.rules.verdict import Level
from pipeline.recordings.rules.store_facts import StoreFacts
from pipeline.recordings.store_trouble import StoreError


@pytest.mark.parametrize(
    ("answer", "level", "advice"),
    [
        (NoSuchCall(), Level.OK, ""),
        (NotReady(), Level.OK, ""),
        (Refused(401), Level.PROBLEM, "Correct the user and password in ENIGMA_API_URL."),
        (Throttled(429, 1.0), Level.WARNING, "Lower RECORDINGS_RATE"),
        (Away("It is off."), Level.PROBLEM, "Start it, or correct the host and port in ENIGMA_API_URL."),
        (Broken("It answered 404."), Level.PROBLEM, "See that ENIGMA_API_URL is the dialler's API"),
    ],
)
def test_each_answer_of_the_api_has_its_advice(answer, level, advice):
    """The dialler's own 404 is what a call that does not exist should get."""
    verdict = judge_api("http://dialler:8000", answer)
    assert verdict.level is level
    assert verdict.remedy.startswith(advice)


@pytest.mark.parametrize(
    ("clocks", "level"),
    [
        ([("database", 0.1, 0.0)], Level.OK),
        ([("database", 0.1, 0.0), ("dialler redis", -3.0, 0.1)], Level.WARNING),
        ([("database", 3.0, 2.0)], Level.OK),
        ([("database", -90.0, 1.0)], Level.PROBLEM),
        ([], Level.WARNING),
    ],
)
def test_clocks_are_judged_by_the_farthest(clocks, level):
    """Either way, less what the reading itself may be off."""
    assert judge_clocks([Clock(*clock) for clock in clocks]).level is level


def test_recordings_of_several_diallers_do_not_meet():
    """One dialler may have any path; several need their names in it."""
    assert not list(judge_paths("{call_ref}{ext}", ["north"]))
    assert not list(judge_paths("{source}/{call_ref}{ext}", ["north", "south"]))
    (verdict,) = judge_paths("{call_ref}{ext}", ["north", "south"])
    assert verdict.level is Level.WARNING


def test_a_store_is_judged_by_a_small_file():
    """The disk is told where there is one."""
    assert [verdict.check for verdict in judge_store("file:///x", StoreFacts(0.1, 10**12, 10**12))] == [
        "recordings store", "recordings disk",
    ]  # fmt: skip
    assert [verdict.check for verdict in judge_store("s3://x", StoreFacts(0.1))] == ["recordings store"]
    assert judge_store_error("file:///x", OSError("no")).level is Level.PROBLEM


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "Free or enlarge the disk"),
        (StoreError("cannot write to it (OSError: No space left on device)"), "Free or enlarge the disk"),
        (StoreError("cannot write to it (OSError: Disk quota exceeded)"), "Free or enlarge the disk"),
        (StoreError("cannot write to it (PermissionError: Permission denied)"), "Let this user create"),
    ],
)
def test_a_full_store_is_no_missing_right(error, remedy):
    """Whoever reads that would look at owners and modes."""
    assert judge_store_error("file:///srv", error).remedy.startswith(remedy)
