"""A call's detail record: from the dialler's envelope to one normalized value.

What the dialler leaves open is settled here, once:

* Whole numbers may be JSON integers, floats without a fraction (JSON itself does not tell 79 from 79.0) or
  strings of digits. References may be strings or integers; a float or a boolean never names anything.
* `dialed_at` is epoch seconds, or ISO-8601 with a time of day; one without an offset is taken as UTC.
* Text loses the blanks around it; an empty optional text is as null, and so is one in which no character shows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from pipeline.calls.rules.fast_path import (
    HIGHEST_END_CODE,
    HIGHEST_REFERENCE,
    LONGEST_CALL_SECONDS,
    REFERENCE_CHARACTERS,
    URL_CHARACTERS,
    WORD_CHARACTERS,
    decode_usual,
    without_blanks,
)
from pipeline.calls.rules.phone_numbers import Number, normalize_number
from pipeline.calls.rules.raw_record import decode_record
from pipeline.errors import DataError, shown
from pipeline.logs.rules.visible import trimmed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.calls.rules.fast_path import UsualRecord

DIRECTIONS: Final = frozenset({"inbound", "outbound"})
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_SKEW: Final = timedelta(days=1)

PAYLOAD_FIELDS: Final = frozenset(
    {
        *("ref", "call_ref", "contact_ref", "extension", "number", "client_number", "dial_number"),
        *("call_dir", "dialed_at", "call_time", "hold_time", "end_reason", "end_code", "recording_url"),
    }
)
ENVELOPE_FIELDS: Final = frozenset({"type", "payload"})

PULLED: Final = "pulled"
"""The type of a record that was made of what the dialler's API lists of a call."""

NAMELESS: Final = "sha256:"
"""How the reference begins of a call that came without one: the digest of its payload follows."""

_EARLIEST_EPOCH = int(EARLIEST.timestamp())
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_DATE_CHARACTERS = len("2020-08-10")
_canonical = msgspec.json.Encoder(order="sorted").encode


class Cdr(msgspec.Struct, frozen=True, gc=False):
    """One call as the dialler reported it, checked and normalized."""

    call_ref: str
    campaign_ref: str
    contact_ref: str | None
    extension: str | None
    client_number: Number | None
    dial_number: Number | None
    direction: str | None
    dialed_at: datetime
    talk_seconds: int
    hold_seconds: int | None
    end_reason: str
    end_code: int | None
    recording_url: str | None
    recording_url_sent: bool
    extra: dict[str, Any]
    content_hash: bytes
    kind: str | None = None
    """``pulled``: made of what the dialler's API lists; None: as the dialler sent it."""


def read_cdr(raw: bytes, *, region: str, now: datetime, max_bytes: int = 65_536) -> Cdr:
    """Read one element of the dialler's list; raises `DataError`, and nothing else, for any bytes at all."""
    usual = decode_usual(raw, max_bytes)
    if usual is not None and (cdr := _usual_cdr(usual, region, now, without_blanks(raw))) is not None:
        return cdr
    return read_any_cdr(raw, region=region, now=now, max_bytes=max_bytes)


def read_any_cdr(raw: bytes, *, region: str, now: datetime, max_bytes: int = 65_536) -> Cdr:
    """As `read_cdr`, field by field, for every form a record can have."""
    record = decode_record(raw, max_bytes)
    pulled = record.get("type") == PULLED
    if record.get("type") != "cdr" and not pulled:
        raise DataError("type", f"must be 'cdr', {_got(record.get('type'))}")
    payload = record.get("payload")
    if not isinstance(payload, dict):
        raise DataError("payload", f"must be an object, {_got(payload)}")

    call_ref = _reference(payload, "call_ref")
    if call_ref is None:
        call_ref = NAMELESS + sha256(_canonical(payload)).hexdigest()
    client_number = _number(payload, "number", region)
    alias = _number(payload, "client_number", region)
    dialed_at = _instant(_given(payload, "dialed_at"), now)
    return Cdr(
        call_ref=call_ref,
        campaign_ref=_required_reference(payload, "ref"),
        contact_ref=None if _is_too_long(payload) else _reference(payload, "contact_ref"),
        extension=_reference(payload, "extension", WORD_CHARACTERS),
        client_number=client_number if alias is None or (client_number and client_number.value) else alias,
        dial_number=_number(payload, "dial_number", region),
        direction=None if pulled else _direction(payload),
        dialed_at=dialed_at,
        talk_seconds=_integer(_given(payload, "call_time"), "payload.call_time", LONGEST_CALL_SECONDS),
        hold_seconds=_optional_integer(payload, "hold_time", LONGEST_CALL_SECONDS),
        end_reason=_end_reason(payload),
        end_code=_optional_integer(payload, "end_code", HIGHEST_END_CODE),
        recording_url=_text(payload, "recording_url", URL_CHARACTERS),
        recording_url_sent="recording_url" in payload,
        extra=_extra(record, payload, both_numbers=client_number is not None and alias is not None),
        content_hash=sha256(_canonical(record)).digest(),
        kind=PULLED if pulled else None,
    )


def _usual_cdr(record: UsualRecord, region: str, now: datetime, text: Callable[[str], str]) -> Cdr | None:
    """The same as `read_any_cdr`, in a quarter of the time; None when a value needs a closer look."""
    payload = record.payload
    call_ref = _usual_reference(payload.call_ref, text)
    campaign_ref = _usual_reference(payload.ref, text)
    end_reason = text(payload.end_reason)
    seconds = payload.dialed_at
    end_code = payload.end_code
    if isinstance(end_code, str):
        if not (end_code.isascii() and end_code.isdecimal()):
            return None
        end_code = int(end_code)
    if not (call_ref and campaign_ref and end_reason) or not _EARLIEST_EPOCH <= seconds <= _latest_epoch(now):
        return None
    url = payload.recording_url
    hold_seconds = payload.hold_time
    return Cdr(
        call_ref=call_ref,
        campaign_ref=campaign_ref,
        contact_ref=_usual_reference(payload.contact_ref, text),
        extension=_usual_reference(payload.extension, text),
        client_number=_usual_number(payload.number, region, text),
        dial_number=_usual_number(payload.dial_number, region, text),
        direction=payload.call_dir,
        dialed_at=datetime.fromtimestamp(seconds, UTC),
        talk_seconds=payload.call_time,
        hold_seconds=None if hold_seconds is UNSET else hold_seconds,
        end_reason=end_reason,
        end_code=None if end_code is UNSET else end_code,
        recording_url=text(url) or None if isinstance(url, str) else None,
        recording_url_sent=url is not UNSET,
        extra={},
        content_hash=sha256(_canonical(record)).digest(),
    )


def _usual_reference(value: int | str | UnsetType | None, text: Callable[[str], str]) -> str | None:
    if isinstance(value, str):
        return text(value) or None
    return str(value) if isinstance(value, int) else None


def _usual_number(value: int | str | UnsetType | None, region: str, text: Callable[[str], str]) -> Number | None:
    if isinstance(value, str):
        return normalize_number(text(value), region)
    return normalize_number(str(value), region) if isinstance(value, int) else None


@lru_cache(maxsize=8)
def _latest_epoch(now: datetime) -> float:
    return (now + CLOCK_SKEW).timestamp()


class Names(NamedTuple):
    """What a record that is no call calls itself, as far as that can be read and stored."""

    call_ref: str | None = None
    campaign_ref: str | None = None


def names_in(raw: bytes, *, max_bytes: int = 65_536) -> Names:
    """What an operator may look a refused record up by; empty where nothing can be read.

    >>> names_in(b'{"payload": {"call_ref": 7, "ref": "spring", "call_time": -1}}')
    Names(call_ref='7', campaign_ref='spring')
    """
    try:
        payload = decode_record(raw, max_bytes).get("payload")
        if not isinstance(payload, dict):
            return Names()
        return Names(_reference(payload, "call_ref"), _reference(payload, "ref"))
    except DataError:
        return Names()


class Key(NamedTuple):
    """What a record is known by, before it is read as a call."""

    call_ref: str
    campaign_ref: str
    content_hash: bytes


def key_in(raw: bytes, *, max_bytes: int = 65_536) -> Key | None:
    """What a record will be stored under, whatever else is wrong with it; None where that cannot be told.

    >>> key_in(b'{"payload": {"call_ref": 7, "ref": "spring", "call_time": -1}}')[:2], key_in(b"no record")
    (('7', 'spring'), None)
    """
    try:
        record = decode_record(raw, max_bytes)
        payload = record.get("payload")
        campaign = _reference(payload, "ref") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or campaign is None:
            return None
        call_ref = _reference(payload, "call_ref") or NAMELESS + sha256(_canonical(payload)).hexdigest()
    except DataError:
        return None
    return Key(call_ref, campaign, sha256(_canonical(record)).digest())


def _got(value: Any) -> str:
    return "is missing" if value is None else f"got {shown(value)}"


def _given(payload: dict[str, Any], name: str) -> Any:
    value = payload.get(name)
    if value is None:
        raise DataError(f"payload.{name}", "is required, got null" if name in payload else "is missing")
    return value


def _text(payload: dict[str, Any], name: str, limit: int) -> str | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"payload.{name}", f"must be a string, got {shown(value)}")
    return _limited(trimmed(value), name, limit) or None


def _limited(text: str, name: str, limit: int) -> str:
    if len(text) > limit:
        raise DataError(f"payload.{name}", f"must be at most {limit} characters, got {len(text)}: {shown(text)}")
    return text


def _reference(payload: dict[str, Any], name: str, limit: int = REFERENCE_CHARACTERS) -> str | None:
    """A name somebody gave: a string, or an integer as its digits."""
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return _limited(trimmed(value), name, limit) or None
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"payload.{name}", f"must be a string or an integer, got {shown(value)}")
    return str(_bounded(value, f"payload.{name}", HIGHEST_REFERENCE))


def _required_reference(payload: dict[str, Any], name: str) -> str:
    _given(payload, name)
    reference = _reference(payload, name)
    if reference is None:
        raise DataError(f"payload.{name}", "must not be empty")
    return reference


def _is_too_long(payload: dict[str, Any]) -> bool:
    """Whether the integrator's reference is longer than the dialler allows: the call is of no contact then."""
    value = payload.get("contact_ref")
    return isinstance(value, str) and len(trimmed(value)) > REFERENCE_CHARACTERS


def _end_reason(payload: dict[str, Any]) -> str:
    _given(payload, "end_reason")
    reason = _text(payload, "end_reason", WORD_CHARACTERS)
    if reason is None:
        raise DataError("payload.end_reason", "must not be empty")
    return reason


def _number(payload: dict[str, Any], name: str, region: str) -> Number | None:
    """A number in any form; an empty one was withheld, which is not the same as none at all."""
    text = _reference(payload, name, WORD_CHARACTERS)
    if text is None and payload.get(name) is None:
        return None
    return normalize_number(text or "", region)


def _direction(payload: dict[str, Any]) -> str:
    value = _given(payload, "call_dir")
    direction = value.strip().lower() if isinstance(value, str) else ""
    if direction not in DIRECTIONS:
        raise DataError("payload.call_dir", f"must be 'inbound' or 'outbound', got {shown(value)}")
    return direction


def _optional_integer(payload: dict[str, Any], name: str, highest: int) -> int | None:
    value = payload.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return _integer(value, f"payload.{name}", highest)


def _integer(value: Any, field: str, highest: int) -> int:
    return _bounded(_whole(value, field), field, highest)


def _whole(value: Any, field: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise DataError(field, f"must be a whole number, got {shown(value)}")


def _bounded(value: int, field: str, highest: int) -> int:
    if value < 0:
        raise DataError(field, f"must not be negative, got {shown(value)}")
    if value > highest:
        raise DataError(field, f"must be at most {highest}, got {shown(value)}")
    return value


def _instant(value: Any, now: datetime) -> datetime:
    """When the call was placed, in UTC; no later than a day from now, as the dialler's clock may be fast."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value.strip()):
        at = _iso_instant(value.strip())
        if EARLIEST <= at <= now + CLOCK_SKEW:
            return at
    else:
        seconds = _whole(value, "payload.dialed_at")
        if seconds == 0:
            raise DataError("payload.dialed_at", "is 0, which is no time: put in when the call was placed, and retry")
        if _EARLIEST_EPOCH <= seconds <= _latest_epoch(now):
            return datetime.fromtimestamp(seconds, UTC)
    raise DataError("payload.dialed_at", f"must lie between 2000 and a day from now, got {shown(value)}")


def _iso_instant(text: str) -> datetime:
    wanted = f"must be epoch seconds or an ISO-8601 date and time, got {shown(text)}"
    if len(text) <= _DATE_CHARACTERS:  # a date alone would price the call at midnight
        raise DataError("payload.dialed_at", wanted)
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise DataError("payload.dialed_at", wanted) from None


def _extra(record: dict[str, Any], payload: dict[str, Any], *, both_numbers: bool) -> dict[str, Any]:
    """What the dialler sent beyond the contract; the envelope's own fields are prefixed `envelope.`."""
    extra = {}
    if not payload.keys() <= PAYLOAD_FIELDS:
        extra = {name: value for name, value in payload.items() if name not in PAYLOAD_FIELDS}
    if both_numbers and payload["number"] != payload["client_number"]:
        extra["client_number"] = payload["client_number"]  # `number` won; the other is not lost
    if _is_too_long(payload):
        extra["contact_ref"] = payload["contact_ref"]
    if len(record) > len(ENVELOPE_FIELDS):
        for name, value in record.items():
            if name not in ENVELOPE_FIELDS:
                key = f"envelope.{name}"
                while key in extra:
                    key = f"envelope.{key}"
                extra[key] = value
    return extra
