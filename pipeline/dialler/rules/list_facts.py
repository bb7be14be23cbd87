"""What can be seen of the dialler's list without taking anything from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999: what is beyond is no time."""


class ListFacts(NamedTuple):
    """What the dialler's Redis holds for us."""

    name: str
    kind: str
    """Its type as Redis names it; ``none`` when it is empty."""
    waiting: int
    left: Sequence[bytes]
    """Its first elements, outermost first."""
    right: Sequence[bytes]
    """Its last elements, outermost first."""
    holder: str | None
    """Who holds the lease."""
    claims: int
    oldest_claim_seconds: float | None
    foreign: Sequence[str] = ()
    """Entries in the register of claims that are not ours."""


def dialed_at(element: bytes) -> float | None:
    """When the call of a raw record was dialled, as far as that can be read; Unix seconds."""
    try:
        record: Any = msgspec.json.decode(element)
        at = float(record["payload"]["dialed_at"])
    except (msgspec.MsgspecError, RecursionError, LookupError, TypeError, ValueError, OverflowError):
        return None
    return at if 0 <= at <= LATEST else None
