"""The key by which a number that was erased is known when it comes again; it is not in the database.

A mark is the same for the same number, and nobody makes it who has not the key. What a record is hashed with in the
place of the number is made with it, too.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from pipeline.calls.rules.erased import NAME_LETTERS, name_for
from pipeline.errors import AwayError

KEY_CHARACTERS: Final = 32
_KINDS_OF_CHARACTERS: Final = 10
_AS_LETTERS: Final = str.maketrans("0123456789", "qrstuvwxyz")


class ErasureKeyError(AwayError):
    """The key of the marks is missing, weak, or another than the one they were made with."""


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
