"""The feed for those who would rather ask: the events behind a cursor that whoever asks keeps.

Nothing of whoever asks is kept here: the cursor is a text that each answer gives, to be handed in with the next
question. One that is older than what the feed still holds is told the hole, and goes on behind it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from pipeline.errors import PipelineError
from pipeline.feed.reading import read_part
from pipeline.feed.rules.cursor import Cursor
from pipeline.feed.rules.event import KINDS, LAST_PLACE
from pipeline.feed.rules.part import Wanted
from pipeline.feed.rules.shape import SHAPES
from pipeline.feed.sequence import head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from pipeline.feed.rules.event import Event
    from pipeline.feed.rules.filter import Filter

LIMIT: Final = 100
"""The most events of an answer, where nobody says how many."""
HIGHEST_LIMIT: Final = 500

LOOKED_AT: Final = 500
"""The most records that are looked at in one go for those that are let through."""
LOOKS: Final = 20
"""How often it is looked for more; an answer may be empty and yet say that there is more."""


class PullError(PipelineError):
    """What was asked for cannot be: the text is a sentence for whoever asked."""


class Pulled(NamedTuple):
    """An answer."""

    events: list[Event]
    next: str
    """The cursor to ask with next."""
    more: bool
    """Whether something stands behind it that was not looked at; an answer without events may have more."""
    hole: tuple[int, int] | None = None
    """The first and the last position that are gone; then there are no events, and the cursor is behind them."""


def pull(
    connection: Connection,
    wanted: Filter,
    shape: str,
    *,
    after: str | None,
    limit: int = LIMIT,
    fields: Sequence[str] | None = None,
) -> Pulled:
    """The events behind a cursor, in their order; nothing but what the filter names.

    Args:
        connection: the database.
        wanted: the wall: sources, campaigns and kinds that whoever asks may see, and asked for.
        shape: one of ``SHAPES``.
        after: as an answer before gave it, or a position; None: from the oldest that the feed holds.
        limit: the most events.
        fields: of the shape ``call`` the parts that are kept; None: all of them.

    Raises:
        PullError: one of these cannot be.
    """
    _check(wanted, shape, limit)
    cursor = oldest(connection) if after is None else read_cursor(after)
    if cursor.position > (last := head(connection)):
        raise PullError(f"after must be a cursor that was given: the newest position is {last}, got {after}")
    events: list[Event] = []
    asked = Wanted(wanted, shape, fields)
    for look in range(LOOKS):
        room = limit - len(events)
        # Mostly all is let through; where little is, it takes larger looks.
        part = read_part(connection, cursor, asked, most=room if look == 0 else LOOKED_AT)
        if part.hole is not None:
            if events:
                break
            return Pulled([], cursor_text(Cursor(part.hole[1], LAST_PLACE)), more=True, hole=part.hole)
        part = part.first(room)
        events += part.events
        cursor = part.behind
        if part.is_last:
            return Pulled(events, cursor_text(cursor), more=False)
        if len(events) == limit:
            break
    return Pulled(events, cursor_text(cursor), more=True)


def oldest(connection: Connection) -> Cursor:
    """The cursor in front of all that the feed still holds."""
    first = connection.scalar(text("SELECT min(position) FROM feed"))
    return Cursor(0 if first is None else first - 1, LAST_PLACE)


def newest(connection: Connection) -> Cursor:
    """The cursor behind all that there is: for whoever wants what happens from now on."""
    return Cursor(head(connection), LAST_PLACE)


_CURSOR: Final = re.compile(r"(?P<position>[0-9]{1,18})(?:-(?P<place>[0-9]{1,5}))?", re.ASCII)


def read_cursor(after: str) -> Cursor:
    """A cursor as it was given, or a position alone: behind all of that.

    >>> read_cursor("12-3"), read_cursor("12")
    (Cursor(position=12, place=3), Cursor(position=12, place=65535))

    Raises:
        PullError: it is none.
    """
    found = _CURSOR.fullmatch(after)
    place = LAST_PLACE if found is None or found["place"] is None else int(found["place"])
    if found is None or place > LAST_PLACE:
        raise PullError(f"after must be a cursor that was given, such as 12 or 12-3, got {after[:50]!r}")
    return Cursor(int(found["position"]), place)


def cursor_text(cursor: Cursor) -> str:
    """A cursor for whoever keeps it.

    >>> cursor_text(read_cursor("12-3")), cursor_text(read_cursor("12"))
    ('12-3', '12')
    """
    return str(cursor.position) if cursor.place == LAST_PLACE else f"{cursor.position}-{cursor.place}"


def _check(wanted: Filter, shape: str, limit: int) -> None:
    if shape not in SHAPES:
        raise PullError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    if unknown := [kind for kind in wanted.kinds if kind not in KINDS]:
        raise PullError(f"kind must be one of {', '.join(KINDS)}, got {unknown[0]!r}")
    if not 1 <= limit <= HIGHEST_LIMIT:
        raise PullError(f"limit must be from 1 to {HIGHEST_LIMIT}, got {limit}")
