"""What the benchmarks give to all contestants alike: the records of a campaign, and a tariff of 200,000 prefixes."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import redis

from pipeline.sandbox.calls import CallGenerator
from pipeline.sandbox.dialler import NOTIFICATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGED = "bench:staged"
CHUNK = 1_000
PREFIXES = 200_000

NUMBERS = (
    "Every call dials a number that was not dialled before, but for chance: a fresh list dialled once, the worst case "
    "for a cache of numbers. The campaigns' own numbers repeat."
)


def records(count: int, *, first_call_ref: int = 1) -> Iterator[bytes]:
    """Elements of the list, the same ones for the same arguments but for the day."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    calls = CallGenerator(first_call_ref, start, pace=1_000.0, first_call_ref=first_call_ref)
    return (call.element("current") for call in itertools.islice(calls, count))


def stage(url: str, count: int, *, first_call_ref: int = 1) -> None:
    """Put records on the dialler's Redis under another name, for `uncover`."""
    with redis.Redis.from_url(url) as dialler:
        dialler.delete(STAGED)
        elements = records(count, first_call_ref=first_call_ref)
        while chunk := list(itertools.islice(elements, CHUNK)):
            dialler.rpush(STAGED, *chunk)


def uncover(url: str, *, after: bool = False) -> None:
    """All staged records are on the dialler's list, at one moment, or one after the other behind what is there."""
    with redis.Redis.from_url(url) as dialler:
        if not after:
            dialler.rename(STAGED, NOTIFICATIONS)
            return
        elements = cast("list[bytes]", dialler.lrange(STAGED, 0, -1))
        dialler.delete(STAGED)
        dialler.rpush(NOTIFICATIONS, *elements)


def tariff() -> bytes:
    """A tariff file that has a rate for every number, and as many prefixes as a carrier's A to Z deck.

    Prefixes of one to seven digits, so that a look-up tries seven lengths.
    """
    short = ["1", "27", "33", "44", "49", "263", "264", *(f"27{area}" for area in range(10, 90))]
    seven = itertools.chain(
        (f"27{block}" for block in range(10_000, 90_000)), (str(block) for block in range(2_800_000, 2_999_999))
    )
    chosen = itertools.islice(itertools.chain(short, seven), PREFIXES)
    lines = (
        f"{prefix},{0.2 + place % 97 / 100:.2f},{'60' if place % 3 else '1'},1\n" for place, prefix in enumerate(chosen)
    )
    return ("prefix,rate_per_minute,first_increment,next_increment\n" + "".join(lines)).encode()
