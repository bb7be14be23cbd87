"""What stands against dropping a range: each reason a sentence that says how much it is and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Facts(NamedTuple):
    """What was found of a range."""

    is_filling: bool
    """Whether records are still numbered into it."""
    earlier: tuple[str, ...]
    """The ranges before it that are there yet."""
    unfinished: int
    """Batches with a step to do."""
    waiting: int
    """Failures that are open or being tried again."""
    held: int
    """Calls under a hold: their recording, their number, or themselves."""
    recordings_waiting: int
    """Recordings that are to be fetched yet."""
    recordings_kept: int
    """Recordings whose file is stored."""
    in_the_feed: int
    """Events of it that the feed has yet, for those who follow and those who ask."""
    not_archived: tuple[str, ...]
    """Days whose calls are not in the archive as they are in the database."""
    unbelievable: tuple[str, ...]
    """What reading the archive back found wrong."""
    violations: tuple[str, ...]
    """The rules of the balance that its rows break."""
    kept: tuple[str, ...]
    """Until when something of it must be kept, and by which rule."""


_SHOWN = 3


def against(facts: Facts) -> list[str]:
    """The reasons, in the order in which they are best gone about; none: it can be dropped."""
    return [*_of_its_records(facts), *_of_who_needs_it(facts), *_of_its_archive(facts)]


def _of_its_records(of: Facts) -> Iterator[str]:
    if of.is_filling:
        yield "records are still numbered into it: a month's range ends when the next month's begins"
    if of.earlier:
        yield f"the range before it is there: drop {of.earlier[0]} first"
    if of.unfinished:
        yield f"{of.unfinished:,} batches are not finished: see `pipeline health`"
    if of.waiting:
        yield f"{of.waiting:,} failures are open: retry or discard them in Flower, or see `pipeline failures list`"
    for rule in of.violations:
        yield f"its balance does not close: {rule}"


def _of_who_needs_it(of: Facts) -> Iterator[str]:
    if of.held:
        yield f"{of.held:,} of its calls are under a hold: `pipeline keeping holds` lists them"
    yield from of.kept
    if of.recordings_waiting:
        yield f"{of.recordings_waiting:,} recordings are to be fetched yet"
    if of.recordings_kept:
        yield (
            f"{of.recordings_kept:,} recordings are stored, and only its rows say whose they are: retention deletes "
            "them when their time is over"
        )
    if of.in_the_feed:
        yield f"the feed has {of.in_the_feed:,} rows about it yet: they go by age (FEED_RETENTION_DAYS)"


def _of_its_archive(of: Facts) -> Iterator[str]:
    yield from _some(of.not_archived, "is not in the archive as it is in the database: `pipeline archive run`")
    yield from _some(of.unbelievable)


def _some(found: tuple[str, ...], what: str = "") -> Iterator[str]:
    for each in found[:_SHOWN]:
        yield f"{each} {what}".rstrip()
    if len(found) > _SHOWN:
        yield f"and {len(found) - _SHOWN:,} more of that kind"
