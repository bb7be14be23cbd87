"""What is said of the tables as months, and of their archive."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.archive.rules.refused import ArchiveAwayError
from pipeline.doctor.rules.months import Months, judge_archive, judge_archive_error, judge_months
from pipeline.doctor.rules.verdict import Level

DECEMBER = 83
"""Of 2026, counted from January 2020."""
GOOD = Months(whole=(), ranges=3, ends=DECEMBER + 2, stopped=())


@pytest.mark.parametrize(
    ("months", "day", "said"),
    [
        (GOOD, 31, {Level.OK: "3 ranges, the next month's is there"}),
        (GOOD._replace(ends=DECEMBER + 1), 2, {Level.OK: "3 ranges, the next month's is there"}),
        (GOOD._replace(ends=DECEMBER + 1), 3, {Level.WARNING: "next month's range is not there yet"}),
        (
            GOOD._replace(whole=("inbox", "calls"), ranges=0, ends=None),
            31,
            {Level.WARNING: "these tables are not cut into months: inbox, calls"},
        ),
        (
            GOOD._replace(stopped=[("2026-01", "the hook ended with 1")]),
            31,
            {Level.PROBLEM: "dropping range 2026-01 has stopped: the hook ended with 1"},
        ),
        (
            GOOD._replace(due=["2024-11", "2024-12"]),
            31,
            {Level.WARNING: "nothing of these may be kept any more, by `pipeline keeping show`: 2024-11, 2024-12"},
        ),
    ],
)
def test_months_are_judged(months, day, said):
    """The next month's range is made by an hourly tick, once a month has begun."""
    verdicts = list(judge_months(months, datetime(2026, 12, day, tzinfo=UTC)))
    assert {each.level: each.says for each in verdicts} == said
    assert all(bool(each.remedy) is (each.level is not Level.OK) for each in verdicts)


def test_the_archive_is_looked_at_every_day():
    """Whoever has just set its URL has never looked."""
    assert judge_archive("file:///srv/archive", None).level is Level.OK
    assert judge_archive("file:///srv/archive", 86_400.0).level is Level.OK
    late = judge_archive("file:///srv/archive", 3 * 86_400.0)
    assert (late.level, late.says) == (
        Level.WARNING,
        "file:///srv/archive takes a file, but the months were last looked at 3 days ago",
    )
    away = judge_archive_error("file:///srv/archive", ArchiveAwayError("it is read-only.\nErrno 30"))
    assert (away.level, away.says) == (Level.PROBLEM, "file:///srv/archive: it is read-only")
