"""A record's id is its place in a batch, and a batch's id the span of its records."""

from __future__ import annotations


def first_record(batch_id: int) -> int:
    """The record id of a batch's first record."""
    return batch_id * PLACES


def last_record(batch_id: int) -> int:
    """The highest record id a batch can hold."""
    return batch_id * PLACES + PLACES - 1


def batch_of(record_id: int) -> int:
    """The batch a record came in.

    >>> batch_of(first_record(7) + 12)
    7
    """
    return record_id // PLACES


PLACES = 65_536
"""Record ids set aside for each batch: the most records one batch can hold."""
