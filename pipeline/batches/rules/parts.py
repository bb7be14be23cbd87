"""How large the parts are in which a batch is done that may have killed its worker."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """A part of a batch in hand.

    Attributes:
        place: of its first record.
        size: how many records it holds.
        until: below this place a part has killed its worker, so parts do not grow before it.
        deaths: how many workers the batch has cost.
        alone: how many of them in a row while this part, of one record, was in hand.
    """

    place: int
    size: int
    until: int = 0
    deaths: int = 0
    alone: int = 0


PARTS = 16
"""A suspected batch is first done in about this many parts."""


SMALLEST_FIRST = 32
"""The first part of a batch holds at least so many records: a smaller batch begins as one part."""


SHRINK = 8
"""How much smaller a part is taken up again after it killed its worker."""


DEATHS_ALONE = 2
"""So many processes in a row must be lost with a record alone in hand; one may have been killed from outside."""


def first_part(records: int) -> Part:
    """The first part of a batch.

    >>> first_part(2_000).size, first_part(200).size, first_part(1).size
    (125, 32, 1)
    """
    return Part(0, min(records, max(SMALLEST_FIRST, records // PARTS)))


def after_success(part: Part) -> Part:
    """The next part: twice as large, but no larger before the end of a part that killed its worker.

    >>> after_success(Part(0, 125))
    Part(place=125, size=250, until=0, deaths=0, alone=0)
    >>> after_success(Part(125, 15, until=140, deaths=1)).size, after_success(Part(130, 7, until=140, deaths=1)).size
    (30, 3)
    """
    place = part.place + part.size
    size = part.size * 2 if place >= part.until else min(part.size, part.until - place)
    return part._replace(place=place, size=size, alone=0)


def after_error(part: Part) -> tuple[Part, int | None]:
    """The next part to try after one that ended in an error, and the place of the record that is to blame, if known.

    >>> after_error(Part(125, 250))
    (Part(place=125, size=31, until=375, deaths=0, alone=0), None)
    >>> after_error(Part(130, 1, until=140))
    (Part(place=131, size=1, until=140, deaths=0, alone=0), 130)
    """
    if part.size == 1:
        return after_success(part)._replace(size=1), part.place
    until = part.place + part.size
    return part._replace(size=max(1, part.size // SHRINK), until=until, alone=0), None


def after_death(part: Part) -> tuple[Part, int | None]:
    """The next part to try after one that killed its worker, and the place of the record that is to blame, if known.

    >>> after_death(Part(125, 250))
    (Part(place=125, size=31, until=375, deaths=1, alone=0), None)
    >>> after_death(Part(130, 1, until=140, deaths=3))
    (Part(place=130, size=1, until=140, deaths=4, alone=1), None)
    >>> after_death(Part(130, 1, until=140, deaths=4, alone=1))
    (Part(place=131, size=1, until=140, deaths=5, alone=0), 130)
    """
    part = part._replace(deaths=part.deaths + 1)
    if part.size == 1 and part.alone + 1 < DEATHS_ALONE:
        return part._replace(alone=part.alone + 1), None
    return after_error(part)
