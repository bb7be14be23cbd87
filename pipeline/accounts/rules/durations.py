"""Durations as providers write them: seconds, minutes and seconds, minutes with decimals, parts of a day."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pipeline.calls.rules.fast_path import LONGEST_CALL_SECONDS
from pipeline.errors import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.accounts.rules.figures import Figure

UNITS: Final = {"seconds": 1, "minutes": 60, "days": 86_400}
"""Forms that are a figure, and how many seconds one of each is; a fraction of a second is rounded, half up."""
CLOCKS: Final = {
    "mm:ss": re.compile(r"(?P<m>[0-9]{1,9}):(?P<s>[0-5][0-9])", re.ASCII),
    "h:mm:ss": re.compile(r"(?P<h>[0-9]{1,9}):(?P<m>[0-5][0-9]):(?P<s>[0-5][0-9])", re.ASCII),
}
FORMS: Final = (*UNITS, *CLOCKS)
MOST_SECONDS: Final = LONGEST_CALL_SECONDS
"""Of one line: no call is longer than the longest that a dialler's record may have."""
MOST_IN_ALL: Final = 10**15
"""Of a whole file."""


def duration_reader(form: str, figure: Callable[[str], Figure], *, most: int = MOST_SECONDS) -> Callable[[str], int]:
    """What reads durations of a form.

    >>> from pipeline.accounts.rules.figures import figure_reader
    >>> german = figure_reader("1.234,56")
    >>> [duration_reader(form, german)(cell) for form, cell in
    ...  (("seconds", "61"), ("mm:ss", "125:07"), ("h:mm:ss", "0:01:01"), ("minutes", "1,5"), ("days", "0,000706"))]
    [61, 7507, 61, 90, 61]

    Args:
        form: one of `FORMS`.
        figure: reads the figures of the file.
        most: how long one may be, in seconds.

    Returns:
        A function of a cell's text that gives whole seconds. It raises ValueError with a sentence that begins with
        "must" or "is".
    """
    clock = CLOCKS.get(form)

    @lru_cache(maxsize=65_536)
    def read(cell: str) -> int:
        text = cell.strip()
        if not text:
            raise ValueError("is missing")
        if clock is not None:
            found = clock.fullmatch(text)
            if found is None:
                raise ValueError(f"must be written {form}, got {shown(cell)}")
            parts = {"h": "0"} | found.groupdict()
            seconds = int(parts["h"]) * 3600 + int(parts["m"]) * 60 + int(parts["s"])
        else:
            value, currency = figure(text)
            if currency is not None or value < 0:
                raise ValueError(f"must be {form}, got {shown(cell)}")
            seconds = int((value * UNITS[form]).quantize(Decimal(1), ROUND_HALF_UP))
        if seconds > most:
            raise ValueError(f"must be at most {most} seconds, got {shown(cell)}")
        return seconds

    return read
