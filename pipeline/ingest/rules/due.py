"""What is done now and then: when it was done last is kept by whoever does it, and by nobody else."""

from __future__ import annotations


class Due:
    """Something that is due every so often, and at once before it was done for the first time.

    Args:
        every: seconds.

    >>> due = Due(5.0)
    >>> due(100.0)
    True
    >>> due.done(100.0)
    >>> due(104.9), due(105.0)
    (False, True)
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._at = float("-inf")

    def __call__(self, now: float) -> bool:
        """Whether it is due, at this second of a clock that never goes back."""
        return now >= self._at

    def done(self, now: float) -> None:
        """It was done."""
        self._at = now + self._every
