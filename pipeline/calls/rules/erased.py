"""What stands in the place of a number that was erased, and the mark by which the number is known again.

A name is random, so nothing leads back from it; nine digits are few, and any plain hash of them is reversed by trying
all. The first digits stay: a call still has to be charged by its destination. Six are gone, which a million numbers
share. A mark is made with a key that is not in the database, and is the same for the same number.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from pipeline.errors import AwayError

ERASED: Final = "erased:"
"""How a name begins."""

GONE_DIGITS: Final = 6

NAME_LETTERS: Final = 16
"""Letters alone: no digits can come together in them that somebody would take for a number."""

KEY_CHARACTERS: Final = 32
_KINDS_OF_CHARACTERS: Final = 10
_AS_LETTERS: Final = str.maketrans("0123456789", "qrstuvwxyz")


class ErasureKeyError(AwayError):
    """The key of the marks is missing, weak, or another than the one they were made with."""


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


def check_key(secret: str) -> str:
    """The key itself, if it can be one.

    Raises:
        ValueError: a sentence that does not quote it.
    """
    if len(secret) < KEY_CHARACTERS or len(set(secret)) < _KINDS_OF_CHARACTERS:
        raise ValueError(
            f"must be at least {KEY_CHARACTERS} random characters, as from: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return secret


class ErasureKey:
    """The key, as it makes marks; it never shows itself.

    Args:
        secret: at least 32 random characters.

    Raises:
        ErasureKeyError: it is none, or weak.
    """

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ErasureKeyError("ERASURE_KEY is not set, and numbers were erased or are to be: set it everywhere")
        try:
            self._secret = check_key(secret).encode()
        except ValueError as error:
            raise ErasureKeyError(f"ERASURE_KEY {error}") from None
        self.id: Final = self._made("key", "")[:16]
        """By which marks say what they were made with; it tells nothing of the key."""

    def mark(self, number: str) -> bytes:
        """The mark of an E.164 number: 32 bytes."""
        return self._digest("mark", number)

    def stand_in(self, number: str) -> str:
        """What a record is hashed with in place of a number: the same each time, for a replay to be known by.

        >>> ErasureKey("a-key-that-only-this-example-has-").stand_in("+27820001234")[:13]
        'erased:27820:'
        """
        return name_for(number, self._made("hash", number).translate(_AS_LETTERS)[:NAME_LETTERS])

    def check(self, key_id: str) -> None:
        """Whether marks were made with this key.

        Raises:
            ErasureKeyError: they were not.
        """
        if key_id != self.id:
            raise ErasureKeyError(
                f"ERASURE_KEY is not the key that numbers were erased with (its id is {self.id}, theirs {key_id}): "
                "set that one"
            )

    def _digest(self, use: str, number: str) -> bytes:
        return hmac.digest(self._secret, f"{use}\0{number}".encode(), sha256)

    def _made(self, use: str, number: str) -> str:
        return self._digest(use, number).hex()
