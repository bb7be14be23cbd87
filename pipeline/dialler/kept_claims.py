"""Claims that are settled and kept for a while, in case the database loses what it has committed.

A standby that takes over may lack the last commits of its primary. What they settled has left the dialler's list, so
it is in these claims or nowhere. They are let go of by age, and by size: they lie on the dialler's own Redis.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pipeline.dialler.cdr_list_scripts import KEEP, LET_GO

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

MOST_BYTES: Final = 64 * 1024 * 1024
"""The most that kept claims hold, give or take a claim and a sixteenth of it; the oldest are let go of first."""

LOOKED_AT: Final = 200
"""Entries read at once."""


class Kept(NamedTuple):
    """An entry: one settled claim."""

    entry: bytes
    claim_id: uuid.UUID | None
    """None: the entry is not one of ours."""
    settled_at: float
    bytes_up_to: int
    """Of this claim and all that were ever kept before it."""


def read_entry(entry: bytes) -> Kept:
    """An entry, as far as it can be read.

    >>> read_entry(b"5f1c8e9e-0000-4000-8000-000000000000|1790000000|812").settled_at
    1790000000.0
    >>> read_entry(b"x")
    Kept(entry=b'x', claim_id=None, settled_at=0.0, bytes_up_to=0)
    """
    try:
        name, settled_at, bytes_up_to = entry.decode().split("|")
        return Kept(entry, uuid.UUID(name), float(int(settled_at)), int(bytes_up_to))
    except ValueError:
        return Kept(entry, None, 0.0, 0)


class KeptClaims:
    """The settled claims beside one list.

    Args:
        client: the dialler's Redis.
        prefix: what our keys beside the list begin with.
        keep_seconds: how long they are kept; 0: not at all.
        most_bytes: how much they may hold.
    """

    def __init__(self, client: redis.Redis, prefix: str, *, keep_seconds: float, most_bytes: int = MOST_BYTES) -> None:
        self._redis = client
        self._prefix = f"{prefix}settled:"
        self._index = f"{prefix}settled"
        self._database_key = f"{prefix}database"
        self.keep_seconds = keep_seconds
        self._most_bytes = most_bytes
        self._unchecked = 0
        self._keep = client.register_script(KEEP)
        self._let_go = client.register_script(LET_GO)

    def key(self, claim_id: uuid.UUID) -> str:
        """The key of the list that holds a kept claim's elements."""
        return f"{self._prefix}{claim_id}"

    def keep(self, claim_id: uuid.UUID, claim_key: str, register_key: str, size: int) -> None:
        """Put a settled claim here in place of dropping it. Doing it again does nothing.

        Args:
            claim_id: the claim.
            claim_key: where its elements are.
            register_key: what it is to be struck off.
            size: bytes of its elements.
        """
        self._keep(
            keys=[claim_key, register_key, self.key(claim_id), self._index],
            args=[str(claim_id), int(time.time()), size],
        )
        self._unchecked += size
        if self._unchecked > self._most_bytes / 16:
            self.let_go()

    def let_go(self, *, everything: bool = False) -> None:
        """Delete what has been kept for long enough, or is too much."""
        self._unchecked = 0
        newest = cast("bytes | None", self._redis.lindex(self._index, 0))
        if newest is None:
            return
        most = 0 if everything else self._most_bytes
        before = float("inf") if everything else time.time() - self.keep_seconds
        bytes_up_to = read_entry(newest).bytes_up_to
        while True:
            oldest = self._read(-LOOKED_AT, -1)
            gone = [kept for kept in oldest if kept.settled_at <= before or bytes_up_to - kept.bytes_up_to >= most]
            keys = [f"{self._prefix}{kept.claim_id}" for kept in gone]
            done = self._let_go(keys=[self._index, *keys], args=[kept.entry for kept in gone]) if gone else 0
            if done < LOOKED_AT:
                return

    def __iter__(self) -> Iterator[uuid.UUID]:
        """The claims, the oldest first. What is kept meanwhile may be missing."""
        for begin in range(self._redis.llen(self._index), 0, -LOOKED_AT):
            for kept in self._read(max(0, begin - LOOKED_AT), begin - 1):
                if kept.claim_id is not None:
                    yield kept.claim_id

    def _read(self, first: int, last: int) -> list[Kept]:
        """Entries between two places, the oldest first."""
        entries = cast("list[bytes]", self._redis.lrange(self._index, first, last))
        return [read_entry(entry) for entry in reversed(entries)]

    def database(self) -> str | None:
        """The database that is known to hold all that is kept here."""
        found = cast("bytes | None", self._redis.get(self._database_key))
        return None if found is None else found.decode(errors="replace")

    def stored_in(self, identity: str) -> None:
        """Note the database that holds all that is kept here."""
        self._redis.set(self._database_key, identity)
