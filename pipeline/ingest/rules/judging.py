"""When the last records of a source are judged, and whether there are enough of them to trust its list."""

from __future__ import annotations

from pipeline.ingest.rules.due import Due
from pipeline.ingest.rules.guards import FUSE_RECORDS


class Judging:
    """Keeps when to judge: that reads a hundred batches where each is of one record, too much for every claim.

    Judged is before a claim when as many records as the fuse looks at were claimed since; when a look found no room,
    for what was in the way may have been done since; always until a list is trusted; and now and then.

    Args:
        every: seconds between two judgements when little comes.
    """

    def __init__(self, every: float) -> None:
        self._time = Due(every)
        self._claimed = 0
        self._was_full = False
        self.trusted = False

    def due(self, now: float) -> bool:
        """Whether to judge before anything else is claimed.

        >>> judging = Judging(1.0)
        >>> judging.judged(10.0, records=99)
        >>> judging.due(10.1)
        True
        >>> judging.judged(10.1, records=100)
        >>> judging.due(10.2), judging.due(11.1)
        (False, True)
        """
        return not self.trusted or self._was_full or self._claimed >= FUSE_RECORDS or self._time(now)

    def judged(self, now: float, *, records: int) -> None:
        """It was done, over so many records."""
        self._time.done(now)
        self._claimed = 0
        self._was_full = False
        self.trusted = records >= FUSE_RECORDS

    def claimed(self, records: int) -> None:
        """So many more records are on their way."""
        self._claimed += records

    def found_full(self) -> None:
        """As much was on its way as may be."""
        self._was_full = True
