"""What stands in the place of a number that was erased.

A name is random, so nothing leads back from it; nine digits are few, and any plain hash of them is reversed by trying
all. The first digits stay: a call still has to be charged by its destination. Six are gone, which a million numbers
share.
"""

from __future__ import annotations

from typing import Final

ERASED: Final = "erased:"
"""How a name begins."""

GONE_DIGITS: Final = 6

NAME_LETTERS: Final = 16
"""Letters alone: no digits can come together in them that somebody would take for a number."""


def name_for(number: str, letters: str) -> str:
    """What takes the place of a number.

    Args:
        number: E.164.
        letters: nobody can guess.

    >>> name_for("+27820001234", "qwertyuiopasdfgh")
    'erased:27820:qwertyuiopasdfgh'
    """
    return f"{ERASED}{number[1:-GONE_DIGITS]}:{letters}"


def kept_digits(number: str | None) -> str:
    """What a rate deck can still be asked for where a number was erased; nothing for any other text.

    >>> kept_digits("erased:27820:qwertyuiopasdfgh"), kept_digits("2001"), kept_digits(None)
    ('27820', '', '')
    """
    if number is None or not number.startswith(ERASED):
        return ""
    digits = number.removeprefix(ERASED).partition(":")[0]
    return digits if digits.isascii() and digits.isdecimal() else ""
