"""What the answer to a webhook means."""

from __future__ import annotations

from enum import Enum
from typing import Final

_OF_THE_DOOR: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 426, 429})
"""Refusals that are about the address, its login or the moment: any event would meet them, and none is to blame."""


class Answer(Enum):
    """What came of it."""

    TAKEN = "taken"
    REFUSED = "refused"
    """These events, whenever they are sent."""
    GONE = "gone"
    """Nobody will ever take anything there."""
    AWAY = "away"
    """Nothing was taken; another time it may be."""


def meaning(status: int) -> Answer:
    """What a status says of the events that were sent.

    Standard Webhooks: 2xx alone is success, a redirect is a failure, 410 ends the subscription. A refusal sets events
    aside, so it must be about them: what a receiver that is misplaced or locked says of all is none.

    >>> [meaning(status).value for status in (204, 302, 404, 410, 413, 422, 429, 503)]
    ['taken', 'away', 'away', 'gone', 'refused', 'refused', 'away', 'away']
    """
    if 200 <= status < 300:
        return Answer.TAKEN
    if status == 410:
        return Answer.GONE
    if 400 <= status < 500 and status not in _OF_THE_DOOR:
        return Answer.REFUSED
    return Answer.AWAY
