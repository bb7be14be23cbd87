"""Items and causes for who may not see phone numbers: not a digit of one is left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pipeline.logs.rules.masking import mask_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN: Final = "***"
_NUMBERS: Final = ("number", "caller_there", "as_it_came")
"""What is a number, or a line with one in it."""
_SHOWN_DIGITS: Final = re.compile(r"(?<=\*\*\*)\d+")
_QUOTED: Final = re.compile(r"\bgot .*", re.DOTALL)
"""What stood in a cell that could not be read: it may be most of a number."""


def hidden(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item with its numbers hidden.

    Args:
        item: by the names that the file of disputes has.
    """
    masked = {name: HIDDEN for name in _NUMBERS if item[name] is not None}
    cause = item["cause"]
    return {**item, **masked, "cause": None if cause is None else hidden_cause(cause)}


def hidden_cause(cause: str) -> str:
    """A cause with its numbers hidden.

    >>> hidden_cause("answered, and not priced here: no rate for +27820001234 in tariff acme")
    'answered, and not priced here: no rate for *** in tariff acme'
    >>> hidden_cause("number: must be E.164, got '2782-000x'")
    'number: must be E.164, got ***'
    >>> hidden_cause("units agree, cost 10.00 times, 6.0000 a minute there")
    'units agree, cost 10.00 times, 6.0000 a minute there'
    """
    return _SHOWN_DIGITS.sub("", mask_numbers(_QUOTED.sub(f"got {HIDDEN}", cause)))
