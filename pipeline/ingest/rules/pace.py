"""How fast an ingestor turns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the ingestor turns; seconds throughout.

    A claim at once when nothing is in flight keeps a lone record quick. While batches are unfinished a *linger* between
    claims gathers records, because batches of one drown the workers in messages; it grows with the number in flight.
    Until enough of a list has proved good for the fuse to judge, no more than ``probation_records`` are on their way.
    """

    batch_size: int = 2_000
    max_unfinished: int = 50
    max_unfinished_records: int = 20_000
    probation_records: int = 500
    longest_linger: float = 0.05
    linger_per_unfinished: float = 0.01
    idle_poll: float = 0.02
    standby_poll: float = 1.0
    stopped_poll: float = 1.0
    outage_poll: float = 0.5
    recover_every: float = 5.0
    judge_every: float = 1.0
    tell_every: float = 5.0

    def linger(self, unfinished: int) -> float:
        """How long to gather before the next claim.

        >>> Pace().linger(0), Pace().linger(2), Pace().linger(40)
        (0.0, 0.02, 0.05)
        """
        return min(self.longest_linger, self.linger_per_unfinished * unfinished)
