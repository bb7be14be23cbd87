"""How many requests a dialler is sent, by all workers on all machines together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHORTEST_SAVING_SECONDS = 1.0
"""What was not used within a second may be used later, so that a look now and then is enough."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one dialler can be asked to bear.

    Attributes:
        at_once: the most downloads at one time.
        per_second: the most requests a second.
    """

    at_once: int
    per_second: float

    def __post_init__(self) -> None:
        """Limits that let nothing through are refused.

        Raises:
            ValueError: naming the limit.
        """
        if self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {self.at_once}")
        if not self.per_second > 0:
            raise ValueError(f"per_second must be more than 0, got {self.per_second}")

    def saved(self, unused_seconds: float) -> float:
        """How much of the time in which nothing was sent still counts.

        >>> Limits(8, 50.0).saved(3_600.0), Limits(8, 0.1).saved(3_600.0)
        (1.0, 10.0)
        """
        return max(0.0, min(unused_seconds, max(SHORTEST_SAVING_SECONDS, 1 / self.per_second)))

    def allowed(self, *, in_flight: int, unused_seconds: float) -> int:
        """How many more may be sent now.

        >>> Limits(8, 50.0).allowed(in_flight=3, unused_seconds=60.0)
        5
        >>> Limits(8, 50.0).allowed(in_flight=0, unused_seconds=0.05)
        2
        """
        # The smallest bit more, so that 0.1 s saved ten times is a second.
        requests = int(self.saved(unused_seconds) * self.per_second + 1e-6)
        return max(0, min(self.at_once - in_flight, requests))


DAY_SECONDS: Final = 86_400.0


def may_ask(asked_ago: float | None, done_ago: float | None) -> bool:
    """Whether to send the hourly work to a queue again.

    A dialler that was taken down, or has no recordings, has no worker that would take the messages; they must not
    pile up. So one that has not done the work for a day is asked once a day.

    >>> may_ask(None, None), may_ask(3_600, None), may_ask(90_000, None)
    (True, False, True)
    >>> may_ask(3_600, 3_590), may_ask(3_600, 90_000)
    (True, False)
    """
    return asked_ago is None or asked_ago >= DAY_SECONDS or (done_ago is not None and done_ago < DAY_SECONDS)
