"""The tables of records as months, and the archive of those that are over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.doctor.rules.verdict import Verdict, first_line, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

CHECK: Final = "months"
ARCHIVE: Final = "archive"
EPOCH_YEAR: Final = 2020
"""Ranges count their months from its January on."""
LATE_DAYS: Final = 2
"""After that the next month's range should be there, and every closed month should have been looked at."""
_DAY_SECONDS: Final = 86_400


class Months(NamedTuple):
    """How the tables of records stand.

    Attributes:
        whole: those that are not cut into months.
        ranges: how many there are.
        ends: the first month that has no range, counted from January 2020; None: there are no ranges.
        stopped: ranges whose drop has stopped, and why.
        due: ranges of which nothing may be kept any more.
    """

    whole: Sequence[str]
    ranges: int
    ends: int | None
    stopped: Sequence[tuple[str, str]]
    due: Sequence[str] = ()


def judge_months(months: Months, now: datetime) -> Iterator[Verdict]:
    """Whether the tables are cut into months, the next one's range is there, and no drop stands still.

    Args:
        months: what was found.
        now: the present instant, UTC.
    """
    for name, why in months.stopped:
        yield problem(
            CHECK, f"dropping range {name} has stopped: {why}", f"Mend that, then: pipeline ranges drop {name}"
        )
    if months.due:
        yield warning(
            CHECK,
            f"nothing of these may be kept any more, by `pipeline keeping show`: {', '.join(months.due)}",
            "`pipeline ranges drop --due --dry-run` says what stands against dropping them.",
        )
    if months.whole:
        yield warning(
            CHECK,
            f"these tables are not cut into months: {', '.join(months.whole)}",
            "Run `pipeline ranges move` when it suits; everything goes on meanwhile. Months can then go as a whole.",
        )
        return
    present = (now.year - EPOCH_YEAR) * 12 + now.month - 1
    if months.ends is not None and months.ends <= present + 1 and now.day > LATE_DAYS:
        yield warning(
            CHECK,
            "next month's range is not there yet",
            "See that beat and a worker run: an hourly tick makes it. Until then calls are kept in the last one.",
        )
    elif not (months.stopped or months.due):
        yield ok(CHECK, f"{months.ranges} ranges, the next month's is there")


def judge_archive(url: str, looked_seconds_ago: float | None) -> Verdict:
    """The archive took a file; and when every month that is over was last looked at.

    Args:
        url: where it is.
        looked_seconds_ago: None: never yet, or nobody here knows.
    """
    if looked_seconds_ago is not None and looked_seconds_ago > LATE_DAYS * _DAY_SECONDS:
        return warning(
            ARCHIVE,
            f"{url} takes a file, but the months were last looked at {looked_seconds_ago / _DAY_SECONDS:.0f} days ago",
            "See that beat and a worker run and have ARCHIVE_URL; what stops it is in the workers' log, as is "
            "what `pipeline archive run` says.",
        )
    return ok(ARCHIVE, f"{url} takes and deletes a file")


def judge_archive_error(url: str, error: BaseException) -> Verdict:
    """The archive did not take a file."""
    return problem(
        ARCHIVE,
        f"{url}: {first_line(error)}",
        "Let this user create and delete files there, or correct ARCHIVE_URL and ARCHIVE_STORAGE_OPTIONS. No range is "
        "dropped meanwhile.",
    )
