"""What is said of the pipeline's own processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.doctor.rules.processes import (
    PAUSED,
    Standing,
    Waiting,
    judge_other_ingestors,
    judge_pauses,
    judge_queues,
    judge_reconciler,
    judge_stops,
)
from pipeline.doctor.rules.verdict import Level
from pipeline.instants import Clock
from pipeline.monitoring.rules.signs import Sign
from pipeline.recordings.rules.outcome import PauseKind

CLOCK = Clock("Africa/Johannesburg")
QUEUES = ["cdr.bill", "recordings.enigma"]


def test_every_queue_has_a_reader():
    """One verdict a queue, besides the one of who answers."""
    verdicts = list(judge_queues(QUEUES, {"worker@a": ["cdr.bill"], "recordings@a": ["recordings.enigma"]}))
    assert [verdict.level for verdict in verdicts] == [Level.OK] * 3
    assert verdicts[1].says == "read by worker@a"


def test_a_queue_nobody_reads_is_named():
    """With the process to start."""
    verdicts = {each.check: each for each in judge_queues(QUEUES, {"worker@a": ["cdr.bill"]})}
    assert verdicts["queue recordings.enigma"].level is Level.PROBLEM
    assert "ENIGMA_SOURCE=enigma" in verdicts["queue recordings.enigma"].remedy
    verdicts = {each.check: each for each in judge_queues(QUEUES, {"worker@a": ["recordings.enigma"]})}
    assert "cdr.bill" in verdicts["queue cdr.bill"].remedy


def test_no_worker_is_one_problem():
    """Not one a queue."""
    (only,) = judge_queues(QUEUES, {})
    assert (only.level, only.says) == (Level.PROBLEM, "none answers")


@pytest.mark.parametrize(("ago", "level"), [(None, Level.PROBLEM), (31.0, Level.PROBLEM), (2.0, Level.OK)])
def test_beat_is_known_by_the_reconciler(ago, level):
    """It runs every other second, by beat's ticks."""
    sign = None if ago is None else Sign("reconciler", "", "host", ago)
    assert judge_reconciler(sign).level is level


def test_other_diallers_ingestors_are_known_by_their_signs():
    """Ours is known by its lease; one that is silent may have been taken down on purpose."""
    signs = [Sign("ingestor", name, "host", ago) for name, ago in (("ours", 99.0), ("two", 1.0), ("three", 99.0))]
    found = {each.check: each.level for each in judge_other_ingestors("ours", signs)}
    assert found == {"ingestor two": Level.OK, "ingestor three": Level.WARNING}


def test_a_stop_is_told_with_its_release():
    """And none is fine."""
    (none,) = judge_stops([], CLOCK)
    assert none.level is Level.OK
    (stop,) = judge_stops([Standing("north", "fuse", "51 of the last 100", datetime(2026, 11, 23, tzinfo=UTC))], CLOCK)
    assert stop.level is Level.PROBLEM
    assert "pipeline stops release --source north" in stop.remedy


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("refused", Level.PROBLEM),
        ("throttled", Level.WARNING),
        ("dialler_away", Level.PROBLEM),
        ("store_away", Level.PROBLEM),
    ],
)
def test_a_pause_is_told_with_what_ends_it(kind, level):
    """Every kind there is."""
    assert {each.value for each in PauseKind} == PAUSED.keys()
    since = datetime(2026, 11, 24, 9, tzinfo=UTC)
    pause = Waiting("north", kind, "401 Unauthorized.", since, since + timedelta(minutes=5))
    (verdict,) = judge_pauses([pause], CLOCK)
    assert verdict.level is level
    assert (
        "those of north wait since 2026-11-24 11:00 SAST, the next try is at 2026-11-24 11:05:00 SAST: 401"
        in verdict.says
    )
    assert "pipeline recordings resume --source north" in verdict.remedy


def test_no_pause_is_well():
    """It is said, so that one knows it was looked at."""
    (verdict,) = judge_pauses([], CLOCK)
    assert verdict.level is Level.OK
