"""A batch, and a span of its records."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.record_ids import first_record, last_record


class Batch(NamedTuple):
    """What a task message carries: enough to find the rows, and to be readable in Flower."""

    batch_id: int
    source: str
    records: int

    @property
    def span(self) -> Span:
        """All its records."""
        return Span(self.source, first_record(self.batch_id), last_record(self.batch_id))


class Span(NamedTuple):
    """A run of records of one batch: what a step works on, most often the whole batch."""

    source: str
    first: int
    last: int

    @property
    def bounds(self) -> dict[str, int]:
        """The bounds as a statement takes them."""
        return {"first": self.first, "last": self.last}
