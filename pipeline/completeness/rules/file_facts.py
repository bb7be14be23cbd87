"""Is a file one of CDRs at all? Told before anything of it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import cut
from pipeline.ingest.rules.guards import wrong_list

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKED_AT: Final = 1_000
"""Elements at the beginning of a file by which it is judged."""


class _Envelope(msgspec.Struct):
    type: str
    payload: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Envelope).decode


def looks_like_a_cdr(element: bytes) -> bool:
    """Whether an element has the envelope of a CDR, whatever is in it.

    >>> looks_like_a_cdr(b'{"type": "cdr", "payload": {}}'), looks_like_a_cdr(b"<html>")
    (True, False)
    """
    try:
        return _decode(element).type == "cdr"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def why_not_cdrs(elements: Sequence[bytes]) -> str | None:
    """Why a file that begins with these elements is not to be imported; None when most of them are CDRs.

    >>> why_not_cdrs([b'{"type": "cdr", "payload": {}}', b"not json"])
    >>> why_not_cdrs([b"a,b,c", b"1,2,3"])
    "2 of its first 2 elements are no CDRs, such as 'a,b,c'"
    """
    if reason := wrong_list(elements):
        return reason
    strange = [element for element in elements if not looks_like_a_cdr(element)]
    if len(strange) * 2 <= len(elements):
        return None
    example = cut(strange[0][:60].decode(errors="replace"), 60)
    return f"{len(strange):,} of its first {len(elements):,} elements are no CDRs, such as '{example}'"


def is_whole(element: bytes) -> bool:
    """Whether an element is JSON to its end; the last one of a file that is still being written is not.

    >>> is_whole(b'{"type": "cdr"}'), is_whole(b'{"type": "cd')
    (True, False)
    """
    try:
        msgspec.json.decode(element)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    except RecursionError:
        return True
    return True
