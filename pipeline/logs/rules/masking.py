"""Log lines without anybody's phone number or password in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.logs.rules.secrets import mask
from pipeline.logs.rules.visible import INVISIBLE

SHOWN_DIGITS: Final = 2
"""Enough to tell two numbers of one line apart, too few to call anybody."""

SHORTEST, LONGEST = 7, 15
"""Digits of a phone number: E.164 allows fifteen, and shorter than seven are extensions and counts."""

NUMBER_KEYS: Final = frozenset(
    {
        "number",
        "client_number",
        "client_number_original",
        "dial_number",
        "dial_number_original",
        "caller",
        "callee",
        "phone",
        "msisdn",
    }
)
"""Whatever is under these is a number, however short."""

NO_NUMBER_KEYS: Final = frozenset({"timestamp", "call_ref", "claim", "owner", "who", "level", "logger", "task"})
"""These hold none, and must stay as they are; so do all that end in _id or _at."""

# A run of digits as people and machines write numbers. Not within a word, an identifier, a time or a decimal. What is
# invisible in it does not part it, as nobody would see that.
_UNSEEN: Final = rf"(?:(?!\s){INVISIBLE}){{0,4}}"
_RUN: Final = re.compile(rf"(?<![\w.-])(?:\+|\(\+?)?{_UNSEEN}\d(?:{_UNSEEN}(?:[ ().-]{_UNSEEN}){{0,2}}\d)+(?![\w-])")
_NO_NUMBER: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?: \d\d)?"  # a date, and the hour behind it
    r"|\d{1,3}(?:\.\d{1,3}){3}"  # an address
    r"|\d+\.\d+"  # a decimal
)
DEEPEST: Final = 6


def mask_numbers(text: str) -> str:
    """A text with all but the last digits of each phone number hidden.

    >>> mask_numbers("no rate for +27820001234 at 2026-11-23T12:00:00+00:00")
    'no rate for ***34 at 2026-11-23T12:00:00+00:00'
    >>> mask_numbers("(082) 000-1234, 2000 records in 0.123456789 s")
    '***34, 2000 records in 0.123456789 s'
    """
    return _RUN.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    run = match[0]
    digits = [character for character in run if character.isdecimal()]
    if not SHORTEST <= len(digits) <= LONGEST or _NO_NUMBER.fullmatch(run):
        return run
    return "***" + "".join(digits[-SHOWN_DIGITS:])


def mask_fields(fields: Mapping[str, Any], *, numbers: bool = True) -> dict[str, Any]:
    """A log line's fields with numbers and passwords hidden, in texts at any depth.

    >>> mask_fields({"event": "x", "dial_number": 2001234, "call_ref": "1234567890", "batch_id": "1234567"})
    {'event': 'x', 'dial_number': '***34', 'call_ref': '1234567890', 'batch_id': '1234567'}
    """
    return {name: _mask_value(name, value, numbers=numbers, depth=0) for name, value in fields.items()}


def _mask_value(name: str, value: Any, *, numbers: bool, depth: int) -> Any:
    if numbers and name in NUMBER_KEYS and value is not None:
        return "***" + str(value)[-SHOWN_DIGITS:]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        shown = mask(value) if "://" in value or "ass" in value or "oken" in value else value
        return mask_numbers(shown) if numbers and not _is_no_number(name) else shown
    if isinstance(value, Mapping) and depth < DEEPEST:
        return {key: _mask_value(str(key), each, numbers=numbers, depth=depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < DEEPEST:
        return [_mask_value(name, each, numbers=numbers, depth=depth + 1) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else _mask_other(value, numbers=numbers)


def _mask_other(value: Any, *, numbers: bool) -> str:
    """As the renderer would write it, which it would only after us."""
    shown = mask(str(value))
    return mask_numbers(shown) if numbers else shown


def _is_no_number(name: str) -> bool:
    return name in NO_NUMBER_KEYS or name.endswith(("_id", "_at"))
