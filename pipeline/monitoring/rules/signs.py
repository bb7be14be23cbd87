"""A sign of life, as it is read."""

from __future__ import annotations

from typing import NamedTuple


class Sign(NamedTuple):
    """A sign of life in the database."""

    name: str
    source: str
    who: str
    seconds_ago: float
