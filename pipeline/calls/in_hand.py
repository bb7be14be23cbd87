"""The calls of a batch that goes through all its steps in one transaction: what a step wrote, no other reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.calls.columns import NewCall
    from pipeline.calls.rules.disposition import Classification


class Classified(NamedTuple):
    """A call that has its disposition."""

    call: NewCall
    result: Classification


class InHand:
    """What the steps of a batch hand each other.

    Nothing, unless normalizing made a call of each of its records, or set it aside: where one was known before, was
    done before or repeats another, the steps after it read what there is.

    Args:
        records: how many the batch has.
    """

    def __init__(self, records: int) -> None:
        self._records = records
        self.calls: Sequence[NewCall] | None = None
        """All of them, by their ids; None: who needs them reads them."""
        self.classified: Sequence[Classified] | None = None
        """Those that are not set aside; None: who needs them reads them."""

    def stored(self, calls: Sequence[NewCall], *, of: int) -> None:
        """These calls were stored, of so many records."""
        if of == self._records:
            self.calls = sorted(calls)
