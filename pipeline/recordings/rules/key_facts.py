"""What can be seen of the folder of keys."""

from __future__ import annotations

from typing import NamedTuple


class KeysFacts(NamedTuple):
    """What came of reading it and of making a small file in it."""

    not_writable: str | None
    """Why this user can make no key there; None: it can."""
    open_to_others: tuple[str, ...]
    """The paths that everybody of this machine may read."""
