"""How fast an ingestor turns, and how much may be on its way."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.ingest.rules.states import State


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the ingestor turns; seconds throughout.

    A record that nothing came before for a moment is claimed at once. Behind each claim a *linger* gathers records,
    because batches of one drown the workers in messages; it grows with the number of batches that are unfinished.
    Until enough of a list has proved good for the fuse to judge, no more than ``probation_records`` are on their way.
    Where nothing came for a moment the first record is waited for; where that cannot be, the list is polled.
    """

    batch_size: int = 2_000
    max_unfinished: int = 50
    max_unfinished_records: int = 20_000
    probation_records: int = 500
    shortest_linger: float = 0.008
    lone_linger: float = 0.025
    longest_lone_linger: float = 0.045
    longest_linger: float = 0.05
    linger_per_unfinished: float = 0.01
    shortest_rest: float = 0.02
    longest_rest: float = 0.1
    rest_share: float = 0.005
    longest_wait: float = 1.5
    """Also the longest that a signal waits to be heeded while there is nothing."""
    look_every: float = 0.9
    """Between two looks whether anything may be claimed while there is nothing; each renews the lease."""
    standby_poll: float = 1.0
    stopped_poll: float = 1.0
    outage_poll: float = 0.5
    recover_every: float = 10.0
    """Also between two signs of life."""
    judge_every: float = 1.0

    def wait(self, state: State) -> float:
        """How long a state waits, but for a rest and for the linger after a batch, which depend."""
        match state:
            case State.FULL:
                return self.longest_linger
            case State.STANDING_BY:
                return self.standby_poll
            case State.STOPPED:
                return self.stopped_poll
            case State.OUTAGE:
                return self.outage_poll
        return 0.0

    def rest(self, pause: float) -> float:
        """How long to wait before an empty list is polled again: a small share of the time in which nothing came.

        So a record waits no longer for a poll at any rate above one in four seconds; after a longer pause a little.

        Args:
            pause: seconds since the last batch.

        >>> Pace().rest(1.0), Pace().rest(10.0), Pace().rest(3600.0)
        (0.02, 0.05, 0.1)
        """
        return min(self.longest_rest, max(self.shortest_rest, self.rest_share * pause))

    def linger(self, unfinished: int, *, records: int, pause: float) -> float:
        """How long to gather before the next claim: more may come so soon that one batch is made of it, not several.

        Longest behind a record that came alone, and then as long as the pause before it: the fewer come, the fewer of
        them come so soon behind another that they wait. Behind several it is short, for more will share the next batch
        anyway.

        Args:
            unfinished: batches on their way, before the one just claimed.
            records: of that one.
            pause: seconds between the claim before it and that one.

        >>> pace = Pace()
        >>> [pace.linger(0, records=1, pause=pause) for pause in (0.01, 0.03, 1.0)]
        [0.025, 0.03, 0.045]
        >>> pace.linger(0, records=2, pause=1.0), pace.linger(3, records=9, pause=0.01)
        (0.008, 0.03)
        >>> pace.linger(40, records=200, pause=0.01)
        0.05
        """
        alone = min(self.longest_lone_linger, max(self.lone_linger, pause))
        shortest = alone if records == 1 else self.shortest_linger
        return min(self.longest_linger, max(shortest, self.linger_per_unfinished * unfinished))

    def room(self, batches: int, records: int, *, trusted: bool) -> int:
        """How many more records may be on their way; none when it is not above 0.

        Args:
            batches: on their way.
            records: in those batches.
            trusted: whether enough of the list has proved good.

        >>> Pace().room(10, 400, trusted=False), Pace().room(10, 400, trusted=True), Pace().room(50, 50, trusted=True)
        (100, 19600, 0)
        """
        if batches >= self.max_unfinished:
            return 0
        return (self.max_unfinished_records if trusted else self.probation_records) - records
