"""From the bytes on the dialler's list to one JSON object that PostgreSQL can store, or why there is none."""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, NamedTuple

import msgspec

from pipeline.errors import DataError, cut, shown

RECORD = "record"
MAX_DEPTH = 64
MAX_INTEGER_CHARACTERS = 4_300  # beyond it Python refuses to turn an integer into text and back

_decode = msgspec.json.Decoder().decode
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_record(raw: bytes, max_bytes: int) -> dict[str, Any]:
    """The record's object; raises `DataError`, and nothing else, for any other bytes.

    A key that is given twice has its last value, as in every JSON reader and in jsonb.
    """
    if len(raw) > max_bytes:
        raise DataError(RECORD, f"must be at most {max_bytes} bytes, got {len(raw)}")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise DataError(RECORD, f"must not be nested more than {MAX_DEPTH} levels deep")
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _diagnosis(raw, error) from error
    if not isinstance(record, dict):
        raise DataError(RECORD, f"must be a JSON object, got {shown(record)}")
    if b"\\u0000" in raw and (fault := _first_fault(record)):  # unescaped, a NUL is not JSON at all
        raise DataError(*fault)
    return record


def _depth(raw: bytes) -> int:
    """How deep the brackets go: counted, because recursion fails at a depth its caller's stack decides."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(raw):
        if match[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in b"]}":
            depth -= 1
    return deepest


class _Refused(NamedTuple):
    """Stands for a number which msgspec refuses and the standard library would take."""

    reason: str


def _diagnosis(raw: bytes, error: Exception) -> DataError:
    """Why msgspec refused the bytes, in an operator's words and with the field when there is one."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as broken:
        return DataError(RECORD, f"is not UTF-8: byte 0x{raw[broken.start]:02x} at position {broken.start}")
    try:
        record = json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_integer)
    except json.JSONDecodeError as broken:
        what = broken.msg.removesuffix(" at")
        near = shown(text[broken.pos : broken.pos + 20]) if broken.pos < len(text) else "the end"
        return DataError(RECORD, f"is not JSON: {what} at character {broken.pos}, near {near}")
    fault = _first_fault(record)
    return DataError(*fault) if fault else DataError(RECORD, f"is not JSON as read here: {cut(str(error), 200)}")


def _constant(text: str) -> _Refused:
    return _Refused(f"must be a finite number, got {text}")


def _float(text: str) -> float | _Refused:
    value = float(text)
    return _Refused(f"must be a number below 1.8e308, got {cut(text)}") if isinf(value) else value


def _integer(text: str) -> int | _Refused:
    if len(text) > MAX_INTEGER_CHARACTERS:
        return _Refused(f"must be a number of at most {MAX_INTEGER_CHARACTERS} characters, got {len(text)}")
    return int(text)


def _first_fault(record: Any) -> tuple[str, str] | None:
    """The path and the reason of the first value or key that cannot be stored, in the order of the text."""
    waiting: list[tuple[str, Any]] = [("", record)]
    while waiting:
        path, value = waiting.pop()
        reason = value.reason if isinstance(value, _Refused) else _text_fault(value)
        if reason:
            return cut(path, 200) or RECORD, reason
        if isinstance(value, dict):
            for key in value:
                if reason := _text_fault(key):
                    return cut(_below(path, key), 200), f"its name {reason}"
            waiting.extend((_below(path, key), value[key]) for key in reversed(value))
        elif isinstance(value, list):
            waiting.extend((f"{path or RECORD}[{i}]", value[i]) for i in reversed(range(len(value))))
    return None


def _text_fault(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if "\0" in value:
        return f"must not contain a NUL character, got {shown(value)}"
    if not value.isascii() and _SURROGATE.search(value):
        return f"must not contain half of a surrogate pair, got {shown(value)}"
    return None


def _below(path: str, key: str) -> str:
    return f"{path}.{cut(key)}" if path else cut(key)
