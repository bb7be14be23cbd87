"""What the dialler's counters of one campaign say (contract section 9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGHEST: Final = 2**53


class Counters(NamedTuple):
    """The calls that the dialler has counted, if it says."""

    state: Literal["read", "absent", "refused", "strange"]
    total_calls: int | None
    says: str | None = None
    """What stands in the way."""


def counters_in(answer: Any) -> Counters:
    """What an answer to HGETALL means; whatever is not as it should be is no number, and never nought.

    >>> counters_in({b"total_calls": b"17", b"answered": b"9"}).total_calls
    17
    >>> counters_in({}).state, counters_in({b"total_calls": b"many"}).state, counters_in({b"answered": b"9"}).state
    ('absent', 'strange', 'strange')
    """
    if not isinstance(answer, dict):
        return Counters("strange", None, "the counters are no hash")
    if not answer:
        return Counters("absent", None)
    return _of(answer)


def _of(answer: Mapping[Any, Any]) -> Counters:
    total = answer.get(b"total_calls")
    if isinstance(total, bytes) and total.isdigit() and len(total) < 17 and int(total) < HIGHEST:
        return Counters("read", int(total))
    return Counters("strange", None, "total_calls is no number")
