"""What can be seen of a store of recordings."""

from __future__ import annotations

from typing import NamedTuple


class StoreFacts(NamedTuple):
    """What came of writing a small file and deleting it."""

    seconds: float
    disk_free: int | None = None
    disk_total: int | None = None
