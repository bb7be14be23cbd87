"""Calls found by filter, page after page, the newest dialled first: never more work than a reader would wait for.

A search walks one index from the newest call on: that of the narrowest thing asked for which has one, be it the
contact, the number, the agent, the campaign or the dialler. What else is asked for is looked at call by call, in slices
that grow, until the page is full or the time is up; then the page says where to go on, full or not. What only a few
calls have (`failed` recordings, a rare disposition) is begun with instead, and what few have at once is where two
indexes meet. Places are keys: the thousandth page costs what the first does, and nothing is counted to its end.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.database.slices import LOOK_SECONDS, look_in_slices
from pipeline.lookup.found_calls import FoundCall, read_calls
from pipeline.lookup.plan import plan_of
from pipeline.lookup.rules.call_filter import NO_WALL, CallFilter, Cursor, Wall, check_filter
from pipeline.lookup.walking import count_in_slice, slice_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.lookup.walking import Slice

MOST: Final = 10_000
"""How far is counted."""
STREAMED: Final = 1_000
"""Calls that a stream reads at once."""

_FIRST_SLICE: Final = 500
_LARGEST_SLICE: Final = 20_000


class CallPage(NamedTuple):
    """Some calls, the newest dialled first."""

    calls: list[FoundCall]
    older: Cursor | None
    """Where to go on to older calls (``after``); None: there are none. The page need not be full for there to be some:
    where few of many match, a page ends when its time is up."""
    newer: Cursor | None
    """Where to go on to newer ones (``before``); None: there are none."""


class Count(NamedTuple):
    """How many match."""

    calls: int
    and_more: bool
    """There are or may be more: counting ended at ``MOST``, or when its time was up."""


def search_calls(
    connection: Connection,
    wanted: CallFilter,
    wall: Wall = NO_WALL,
    *,
    limit: int,
    after: Cursor | None = None,
    before: Cursor | None = None,
    seconds: float = LOOK_SECONDS,
) -> CallPage:
    """A page of the calls that match.

    Args:
        connection: the database.
        wanted: which calls; a time span, or a call, a contact or a number, must be named.
        wall: what this reader may see; calls behind it are as if they were not there.
        limit: the most on a page.
        after: from the call behind this place on, towards older ones.
        before: the calls just before this place, towards newer ones; only one of the two is given.
        seconds: how long to go on looking where few of many match.

    Raises:
        FilterRefusedError: calls cannot be asked for so, or not by this reader.
    """
    check_filter(wanted, wall)
    place = before if before is not None else after
    found, stopped = _find(connection, wanted, wall, place, limit + 1, newer=before is not None, seconds=seconds)
    more = len(found) > limit
    found = found[:limit]
    beyond = found[-1] if more else stopped
    if before is not None:
        found.reverse()
    shown = read_calls(connection, [each.call_id for each in found], numbers=wall.numbers)
    if before is not None:
        return CallPage(shown, older=found[-1] if found else before, newer=beyond)
    return CallPage(shown, older=beyond, newer=None if after is None else found[0] if found else after)


def _find(
    connection: Connection,
    wanted: CallFilter,
    wall: Wall,
    place: Cursor | None,
    limit: int,
    *,
    newer: bool,
    seconds: float,
) -> tuple[list[Cursor], Cursor | None]:
    """The next calls that match, and where looking stopped before it came to the end."""
    plan = plan_of(connection, wanted, wall)

    def look(place: Cursor | None, size: int, limit: int) -> Slice:
        return slice_of(connection, plan, place, size, limit, newer=newer)

    return look_in_slices(
        look,
        place,
        limit,
        size=limit if plan.is_exact else max(limit, _FIRST_SLICE),
        next_size=functools.partial(_next_size, limit),
        seconds=seconds,
    )


def _next_size(limit: int, size: int, looked_at: int, found: int) -> int:
    """As many calls as should hold those that are missing, by the share of those looked at that matched."""
    likely = size * 4 if not found else (limit - found) * looked_at * 5 // (found * 4)
    return max(min(size, _FIRST_SLICE), min(likely, size * 8, _LARGEST_SLICE))


def count_calls(
    connection: Connection, wanted: CallFilter, wall: Wall = NO_WALL, *, seconds: float = LOOK_SECONDS
) -> Count:
    """How many calls match, up to ``MOST``.

    Args:
        connection: the database.
        wanted: which calls.
        wall: what this reader may see.
        seconds: how long to go on counting.

    Raises:
        FilterRefusedError: calls cannot be asked for so, or not by this reader.
    """
    check_filter(wanted, wall)
    plan = plan_of(connection, wanted, wall)
    ends = time.monotonic() + seconds
    counted, place = 0, None
    while True:
        matching, place = count_in_slice(connection, plan, place, MOST + 1)
        counted += matching
        if counted > MOST:
            return Count(MOST, and_more=True)
        if place is None:
            return Count(counted, and_more=False)
        if time.monotonic() >= ends:
            return Count(counted, and_more=True)


def stream_calls(
    connection: Connection, wanted: CallFilter, wall: Wall = NO_WALL, *, limit: int, after: Cursor | None = None
) -> Iterator[CallPage]:
    """Pages of the calls that match, one after the other, until there are no more or ``limit`` calls were handed out.

    However many there are, one page is in memory; a page may be empty. Each is read by itself: a call that comes in
    meanwhile is in a later page or in none, and no call is in two.

    Args:
        connection: the database; between pages nothing is open in it.
        wanted: which calls.
        wall: what this reader may see.
        limit: the most calls altogether.
        after: from the call behind this place on.

    Raises:
        FilterRefusedError: calls cannot be asked for so, or not by this reader.
    """
    while limit > 0:
        page = search_calls(connection, wanted, wall, limit=min(limit, STREAMED), after=after)
        yield page
        limit -= len(page.calls)
        after = page.older
        if after is None:
            return
