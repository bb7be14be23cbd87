"""For how long the files of recordings are kept, by dialler and campaign, as whoever knows the rules hands it down."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Age(NamedTuple):
    """The age at which the files of a dialler and campaign go; of several that fit, the first counts."""

    source: str
    """Empty: every one."""
    campaign_ref: str
    """Empty: every one."""
    days: int | None
    """Since the call was dialled; None: they are kept for ever."""
    reason: str
    """What a file's row says when it went."""


def shortest(ages: Sequence[Age]) -> int | None:
    """The days after which the first files go; None: none ever does.

    >>> shortest([Age("", "spring", None, ""), Age("", "", 30, "")])
    30
    """
    return min((each.days for each in ages if each.days is not None), default=None)
