"""The dialler's Redis list: claim a batch, drop the claim, take back what others left.

The list allows one consumer and forgets what is popped, so nothing is ever popped. One script moves up to ``limit``
elements into a *claim*, a list with a name of its own that is entered in a register first, all in one step no crash
can cut in half. A claim never grows after that, so its name identifies exactly those elements for ever: settling it
twice is seen in the database, whoever does it. Once settled it is dropped, or kept for a while (kept_claims.py).

Keys share the list's slot (``{list}:cdr:…``), so Redis Cluster and key-pattern ACLs work.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.dialler.cdr_list_scripts import CLAIM, DROP, LEASE, RELEASE
from pipeline.dialler.kept_claims import KeptClaims
from pipeline.dialler.rules.list_facts import ListFacts
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

PopEnd = Literal["left", "right"]

KEYS_A_SCAN: Final = 2_000
SCANS_A_SEARCH: Final = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """Elements taken off the dialler's list and not yet dropped."""

    id: uuid.UUID
    elements: Sequence[bytes]


class LeaseHeldError(PipelineError):
    """Another ingestor holds the lease on this list."""


class ForeignClaimError(PipelineError):
    """What has the name of a claim is none of ours; the text says why."""


def claim_named(name: bytes) -> uuid.UUID | None:
    r"""The claim of a name; None when the name is not of our making.

    >>> claim_named(b"5f1c8e9e-0000-4000-8000-000000000000")
    UUID('5f1c8e9e-0000-4000-8000-000000000000')
    >>> claim_named(b"5F1C8E9E-0000-4000-8000-000000000000"), claim_named(b"\xff")
    (None, None)
    """
    try:
        claim_id = uuid.UUID(name.decode())
    except ValueError:
        return None
    return claim_id if str(claim_id).encode() == name else None


class CdrList:
    """One dialler's list, and this process's hold on it.

    Args:
        url: the dialler's Redis.
        name: the list.
        pop_end: the end to take from.
        owner: this process's name in the lease and the register; unique a process.
        lease_seconds: how long the lease lasts without renewal; another ingestor takes over after that.
        limit_bytes: a claim stops growing once it holds this many bytes, however few its elements.
        keep_seconds: how long settled claims are kept; 0: not at all.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        pop_end: PopEnd = "right",
        owner: str,
        lease_seconds: float = 5.0,
        limit_bytes: int = 16 * 1024 * 1024,
        keep_seconds: float = 0,
    ) -> None:
        # No retries below us: the ingestor's loop decides what an outage means.
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=5,
            socket_connect_timeout=5,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            client_name="cdr-ingestor",
        )
        self.name = name
        self.owner = owner
        self._end = pop_end.upper()
        self._lease_ms = int(lease_seconds * 1000)
        self._limit_bytes = limit_bytes
        self.key_prefix = self.prefix_of(name)
        self.register_key = f"{self.key_prefix}claims"
        self.lease_key = f"{self.key_prefix}lease"
        self._claim_prefix = f"{self.key_prefix}claim:"
        self.kept = KeptClaims(self._redis, self.key_prefix, keep_seconds=keep_seconds)
        self._cursor = 0
        self._claim = self._redis.register_script(CLAIM)
        self._drop = self._redis.register_script(DROP)
        self._lease = self._redis.register_script(LEASE)
        self._release = self._redis.register_script(RELEASE)
        self._has_lmove: bool | None = None
        self._may_wait = True

    @staticmethod
    def prefix_of(name: str) -> str:
        """What all our keys beside a list begin with."""
        return f"{name}:cdr:" if "{" in name else f"{{{name}}}:cdr:"

    def claim_key(self, claim_id: uuid.UUID) -> str:
        """The key of the list that holds a claim's elements."""
        return f"{self._claim_prefix}{claim_id}"

    def method(self) -> str:
        """How elements are moved on this server: ``LMOVE`` from Redis 6.2 on, ``RPOPLPUSH`` before."""
        if self._has_lmove is None:
            version = str(self._redis.info("server")["redis_version"])
            major, minor = (int(part) for part in version.split(".")[:2])
            self._has_lmove = (major, minor) >= (6, 2)
        return "LMOVE" if self._has_lmove else "RPOPLPUSH"

    def hold_lease(self) -> bool:
        """Take or renew the lease; whether this process holds it now."""
        return (
            cast("bytes", self._lease(keys=[self.lease_key], args=[self.owner, self._lease_ms])) == self.owner.encode()
        )

    def release_lease(self) -> None:
        """Give the lease up, if it is ours, so that a stand-by takes over at once."""
        self._release(keys=[self.lease_key], args=[self.owner])

    def claim(self, limit: int) -> Claim | None:
        """Claim up to ``limit`` elements and renew the lease, in one step; None when the list is empty.

        Raises:
            LeaseHeldError: another ingestor holds the lease; nothing was moved.
        """
        lmove = "1" if self.method() == "LMOVE" else "0"
        claim_id = uuid.uuid4()
        moved = self._claim(
            keys=[self.name, self.claim_key(claim_id), self.register_key, self.lease_key],
            args=[
                *(limit, self._limit_bytes, str(claim_id), self._end),
                *(self.owner, self._lease_ms, lmove, int(time.time())),
            ],
        )
        if moved == 0:
            raise LeaseHeldError
        return Claim(claim_id, moved) if moved else None

    def drop(self, claim_id: uuid.UUID) -> None:
        """Forget a settled claim. Dropping it again does nothing."""
        self._drop(keys=[self.claim_key(claim_id), self.register_key], args=[str(claim_id)])

    def keep(self, claim: Claim) -> None:
        """Put a settled claim among the kept ones, and strike it off the register."""
        self.kept.keep(claim.id, self.claim_key(claim.id), self.register_key, sum(map(len, claim.elements)))

    def register(self) -> list[bytes]:
        """Every name in the register, by whomever: not all need be claims."""
        return cast("list[bytes]", self._redis.hkeys(self.register_key))

    def unregistered(self) -> list[bytes]:
        """Names of claims that are in no register, among the next few thousand of the server's keys.

        There are none unless somebody deleted the register or moved elements without it. A round over all keys takes
        as many calls as it takes; a claim that was settled meanwhile may be among the names, and has no elements.
        """
        found: set[bytes] = set()
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._claim_prefix) + "*"
        for _ in range(SCANS_A_SEARCH):
            self._cursor, keys = cast(
                "tuple[int, list[bytes]]", self._redis.scan(self._cursor, match=pattern, count=KEYS_A_SCAN)
            )
            found.update(key.removeprefix(self._claim_prefix.encode()) for key in keys)
            if self._cursor == 0:
                break
        return sorted(found - set(self.register())) if found else []

    def open_claims(self) -> list[uuid.UUID]:
        """Every claim in the register, by whomever."""
        return [claim_id for claim_id in map(claim_named, self.register()) if claim_id is not None]

    def read_claim(self, claim_id: uuid.UUID, *, at_most: int | None = None) -> Claim:
        """A claim's elements, in the order of the claim; none when it was dropped meanwhile.

        Raises:
            ForeignClaimError: it has more than ``at_most`` elements, or is no list.
        """
        return self._read(claim_id, self.claim_key(claim_id), at_most)

    def read_kept(self, claim_id: uuid.UUID) -> Claim:
        """A settled claim's elements, in the order of the claim; none when it was let go of."""
        return self._read(claim_id, self.kept.key(claim_id), None)

    def _read(self, claim_id: uuid.UUID, key: str, at_most: int | None) -> Claim:
        try:
            count = self._redis.llen(key)
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise ForeignClaimError("it is no list") from error
        if at_most is not None and count > at_most:
            raise ForeignClaimError(f"it has {count} elements, a claim has at most {at_most}")
        elements = cast("list[bytes]", self._redis.lrange(key, 0, -1))
        if self.method() == "RPOPLPUSH":
            elements.reverse()  # that command, and its stand-in for the left end, put each element at the head
        return Claim(claim_id, elements)

    def waiting(self) -> int:
        """Elements on the dialler's list."""
        return self._redis.llen(self.name)

    def can_wait(self) -> bool:
        """Whether ``wait`` can: this server knows how, and our user has not been refused."""
        return self._may_wait and self.method() == "LMOVE"

    def wait(self, seconds: float) -> bool | None:
        """Wait until there is an element; whether there is one now, or None where this server or user cannot wait.

        The element is moved onto the very end that it is on, so the list stays as it is, whatever becomes of the
        answer. A blocking move into a claim would lose one that arrives after its ingestor was given up.

        Args:
            seconds: the longest to wait, well below the five that any answer may take.
        """
        if not self.can_wait():
            return None
        try:
            whole_or_not = cast("int", seconds)  # fractions are taken since Redis 6.0
            return self._redis.blmove(self.name, self.name, whole_or_not, src=self._end, dest=self._end) is not None
        except redis.OutOfMemoryError:
            return True  # the claim that follows says so
        except redis.exceptions.NoPermissionError:
            self._may_wait = False
            return None

    def peek(self, count: int) -> list[bytes]:
        """The elements that would be claimed next, left where they are."""
        if self._end == "RIGHT":
            return list(reversed(cast("list[bytes]", self._redis.lrange(self.name, -count, -1))))
        return cast("list[bytes]", self._redis.lrange(self.name, 0, count - 1))

    def not_settled(self, at_most: int, *, page: int = 1_000) -> list[bytes] | None:
        """Everything on the list and then in open claims, as it lies there; None when that is more than ``at_most``.

        What is claimed meanwhile may be seen twice, and is never missed: it moves the way this looks.
        """
        found: list[bytes] = []
        for first in range(0, at_most + 1, page):
            some = cast("list[bytes]", self._redis.lrange(self.name, first, first + page - 1))
            found += some
            if len(some) < page:
                break
        for claim_id in self.open_claims():
            found += self.read_claim(claim_id).elements
        return found if len(found) <= at_most else None

    def look(self, count: int) -> ListFacts:
        """What is there, for whoever checks it; nothing is moved and no lease is taken."""
        now = self._redis.time()[0]
        kind = cast("bytes", self._redis.type(self.name)).decode()
        holder = cast("bytes | None", self._redis.get(self.lease_key))
        register = cast("dict[bytes, bytes]", self._redis.hgetall(self.register_key))
        ages = [now - at for at in map(_time_of, register.values()) if at is not None]
        is_list = kind == "list"
        return ListFacts(
            name=self.name,
            kind=kind,
            waiting=self.waiting() if is_list else 0,
            left=cast("list[bytes]", self._redis.lrange(self.name, 0, count - 1)) if is_list else [],
            right=cast("list[bytes]", self._redis.lrange(self.name, -count, -1))[::-1] if is_list else [],
            holder=None if holder is None else holder.decode(errors="replace"),
            claims=len(register),
            oldest_claim_seconds=max(ages, default=None),
            foreign=tuple(repr(name)[1:] for name in register if claim_named(name) is None),
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


def _time_of(entry: bytes) -> int | None:
    """When a claim was made, by its entry in the register; None where that says no time."""
    digits = entry.rpartition(b"|")[2]
    return int(digits) if digits.isdigit() and len(digits) < 12 else None
