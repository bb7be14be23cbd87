"""What is told of a call to somebody who may not see numbers.

No digit of a number is left: two of them tell which of a few it is. A field that is a number, or may hold one, is
hidden as a whole, and of a sentence the digits are. What tells a number otherwise goes too: the prefix it was rated by,
and the hash of a record of which all but the number is known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN: Final = "***"

NUMBERS: Final = frozenset(
    {
        *("client_number", "client_number_original", "dial_number", "dial_number_original", "number"),
        "recording_url",  # a path with the number in it
        "prefix",
        "detail",  # of an event: a sentence that has any of the others
    }
)
"""Fields that are hidden as a whole, where they are not empty."""

LEFT_OUT: Final = frozenset({"extra", "rate_line"})
"""Fields that are none then: what they hold is anybody's guess, or has no text to hide."""

SENTENCES: Final = frozenset(
    {"reason", "why", "not_charged", "end_reason", "verify_problem", "deleted_reason", "delete_problem"}
)
"""Fields of which the digits are hidden."""

_DIGITS: Final = re.compile(r"\d+")


def without_digits(text: str) -> str:
    """A sentence without its digits.

    >>> without_digits("no rate for +27820001234 in tariff 'retail'")
    "no rate for +*** in tariff 'retail'"
    """
    return _DIGITS.sub(HIDDEN, text)


def masked(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a call, or of anything about one, without numbers; lists and objects in it alike.

    Args:
        told: by the names that columns and answers have.

    >>> masked({"call": {"call_ref": "845", "client_number": "+27820001234", "dial_number": None, "extra": {"a": 1}}})
    {'call': {'call_ref': '845', 'client_number': '***', 'dial_number': None, 'extra': None}}
    """
    return {name: _masked(name, value) for name, value in told.items()}


def _masked(name: str, value: Any) -> Any:
    if value is None or name in LEFT_OUT:
        return None
    if name in NUMBERS:
        return HIDDEN
    if name in SENTENCES and isinstance(value, str):
        return without_digits(value)
    if isinstance(value, dict):
        return masked(value)
    if isinstance(value, list | tuple):
        return [_masked(name, each) for each in value]
    return value
