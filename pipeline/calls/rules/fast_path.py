"""The record as diallers really write it, decoded and checked by its type in one pass.

Whatever does not fit, good or bad, is read field by field instead (`cdr.py`), which knows all forms and says what
is wrong with the others. So nothing here needs to be complete; it needs to be right where it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pipeline.logs.rules.visible import trimmed

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_CALL_SECONDS: Final = 7 * 24 * 3600
HIGHEST_END_CODE: Final = 999  # Q.850 ends at 127; some pages call it a SIP code, and those have three digits
HIGHEST_REFERENCE: Final = 2**63 - 1
REFERENCE_CHARACTERS: Final = 230
WORD_CHARACTERS: Final = 64
URL_CHARACTERS: Final = 2_000

_Digits: TypeAlias = Annotated[int, Meta(ge=0, le=HIGHEST_REFERENCE)]
_Reference: TypeAlias = _Digits | Annotated[str, Meta(max_length=REFERENCE_CHARACTERS)]
_Word: TypeAlias = _Digits | Annotated[str, Meta(max_length=WORD_CHARACTERS)]
_Seconds: TypeAlias = Annotated[int, Meta(ge=0, le=LONGEST_CALL_SECONDS)]


class UsualPayload(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a record says of its call; a field that was not sent is unset."""

    call_ref: _Reference
    ref: _Reference
    call_dir: Literal["inbound", "outbound"]
    dialed_at: int
    call_time: _Seconds
    end_reason: Annotated[str, Meta(max_length=WORD_CHARACTERS)]
    contact_ref: _Reference | UnsetType | None = UNSET
    extension: _Word | UnsetType | None = UNSET
    number: _Word | UnsetType | None = UNSET
    dial_number: _Word | UnsetType | None = UNSET
    hold_time: _Seconds | UnsetType | None = UNSET
    end_code: (
        Annotated[int, Meta(ge=0, le=HIGHEST_END_CODE)] | Annotated[str, Meta(max_length=3)] | UnsetType | None
    ) = UNSET
    recording_url: Annotated[str, Meta(max_length=URL_CHARACTERS)] | UnsetType | None = UNSET


class UsualRecord(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A record."""

    type: Literal["cdr"]
    payload: UsualPayload


_decode = msgspec.json.Decoder(UsualRecord).decode


def decode_usual(raw: bytes, max_bytes: int) -> UsualRecord | None:
    """The record; None when it is not written as usual.

    >>> decode_usual(b'{"type": "cdr", "payload": {"call_ref": 845}}', 65_536)
    """
    if len(raw) > max_bytes or b"\\u0000" in raw:
        return None
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def without_blanks(raw: bytes) -> Callable[[str], str]:
    r"""What takes the blanks off the texts of this record: `trimmed`, or the same for less where nothing is invisible.

    >>> without_blanks(b'{"ref": " spring "}')(" spring ")
    'spring'
    """
    # JSON writes a control character behind a backslash or not at all, all but DEL.
    return str.strip if raw.isascii() and b"\\" not in raw and b"\x7f" not in raw else trimmed
