"""The dialler's Redis list: claim a batch, drop the claim, take back what others left.

The list allows one consumer and forgets what is popped, so nothing is ever popped. One script moves up to ``limit``
elements into a *claim*, a list with a name of its own, and enters the claim in a register, all in one step no crash
can cut in half. A claim never grows after that, so its name identifies exactly those elements for ever: settling it
twice is seen in the database, whoever does it. Once settled it is dropped.

Keys share the list's slot (``{list}:cdr:…``), so Redis Cluster and key-pattern ACLs work.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.domain.checkup.cdr_list import ListFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

PopEnd = Literal["left", "right"]

# KEYS: list, claim, register, lease.
# ARGV: limit, limit in bytes, name of the claim, end, owner, lease in ms, lmove?, now (Unix seconds).
# Returns 0 when another owner holds the lease, else the elements moved (oldest first as the dialler's page counts it).
# An element is always in one of the two lists, also where the script itself fails half way.
CLAIM = """
local holder = redis.call('GET', KEYS[4])
if holder and holder ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[4], ARGV[5], 'PX', ARGV[6])
local moved, bytes = {}, 0
local limit, limit_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
while #moved < limit and bytes < limit_bytes do
  local element
  if ARGV[7] == '1' then
    element = redis.call('LMOVE', KEYS[1], KEYS[2], ARGV[4], 'RIGHT')
  elseif ARGV[4] == 'RIGHT' then
    element = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
  else
    element = redis.call('LINDEX', KEYS[1], 0)
    if element then
      redis.call('LPUSH', KEYS[2], element)
      redis.call('LPOP', KEYS[1])
    end
  end
  if not element then break end
  moved[#moved + 1] = element
  bytes = bytes + #element
end
if #moved > 0 then
  redis.call('HSET', KEYS[3], ARGV[3], ARGV[5] .. '|' .. ARGV[8])
end
return moved
"""

# KEYS: claim, register.  ARGV: name of the claim.
DROP = """
redis.call('DEL', KEYS[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
"""

# KEYS: lease.  ARGV: owner, lease in ms.  Returns who holds it afterwards.
LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """Elements taken off the dialler's list and not yet dropped."""

    id: uuid.UUID
    elements: Sequence[bytes]


class LeaseHeldError(Exception):
    """Another ingestor holds the lease on this list."""


class CdrList:
    """One dialler's list, and this process's hold on it.

    Args:
        url: the dialler's Redis.
        name: the list.
        pop_end: the end to take from.
        owner: this process's name in the lease and the register; unique a process.
        lease_seconds: how long the lease lasts without renewal; another ingestor takes over after that.
        limit_bytes: a claim stops growing once it holds this many bytes, however few its elements.
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
        self._claim = self._redis.register_script(CLAIM)
        self._drop = self._redis.register_script(DROP)
        self._lease = self._redis.register_script(LEASE)
        self._release = self._redis.register_script(RELEASE)
        self._has_lmove: bool | None = None

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

    def open_claims(self) -> list[uuid.UUID]:
        """Every claim in the register, by whomever."""
        return [uuid.UUID(name.decode()) for name in cast("list[bytes]", self._redis.hkeys(self.register_key))]

    def read_claim(self, claim_id: uuid.UUID) -> Claim:
        """A claim's elements, in the order of the claim; none when it was dropped meanwhile."""
        elements = cast("list[bytes]", self._redis.lrange(self.claim_key(claim_id), 0, -1))
        if self.method() == "RPOPLPUSH":
            elements.reverse()  # that command, and its stand-in for the left end, put each element at the head
        return Claim(claim_id, elements)

    def waiting(self) -> int:
        """Elements on the dialler's list."""
        return self._redis.llen(self.name)

    def peek(self, count: int) -> list[bytes]:
        """The elements that would be claimed next, left where they are."""
        if self._end == "RIGHT":
            return list(reversed(cast("list[bytes]", self._redis.lrange(self.name, -count, -1))))
        return cast("list[bytes]", self._redis.lrange(self.name, 0, count - 1))

    def look(self, count: int) -> ListFacts:
        """What is there, for whoever checks it; nothing is moved and no lease is taken."""
        now = self._redis.time()[0]
        kind = cast("bytes", self._redis.type(self.name)).decode()
        holder = cast("bytes | None", self._redis.get(self.lease_key))
        claims = cast("dict[bytes, bytes]", self._redis.hgetall(self.register_key)).values()
        is_list = kind == "list"
        return ListFacts(
            name=self.name,
            kind=kind,
            waiting=self.waiting() if is_list else 0,
            left=cast("list[bytes]", self._redis.lrange(self.name, 0, count - 1)) if is_list else [],
            right=cast("list[bytes]", self._redis.lrange(self.name, -count, -1))[::-1] if is_list else [],
            holder=None if holder is None else holder.decode(errors="replace"),
            claims=len(claims),
            oldest_claim_seconds=max((now - int(entry.rpartition(b"|")[2]) for entry in claims), default=None),
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
