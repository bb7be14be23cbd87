"""Signatures of webhooks, as Standard Webhooks says: by a secret that both sides have, or a key that only we have.

The official library signs with secrets alone. A private key is an ed25519 one: its seed, as the specification's own
libraries take it, or the seed and the public key after it, as some services hand it out.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook as Secret

from pipeline.feed.sinks.base import SettingError

if TYPE_CHECKING:
    from datetime import datetime

SECRET, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
SECRET_BYTES: Final = (24, 64)
"""How long a secret is, as Standard Webhooks says."""

SEED_BYTES: Final = 32


class Signer(Protocol):
    """Whatever can sign a message."""

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        """The version of the signature, a comma and the signature in base64."""


class PrivateKey:
    """Signs with ed25519: who checks it needs nothing that is secret.

    Args:
        text: as it was checked, with or without ``whsk_``.
    """

    def __init__(self, text: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(_decoded(text)[:SEED_BYTES])

    def sign(self, msg_id: str, timestamp: datetime, data: str) -> str:
        """As `Signer` says."""
        signed = self._key.sign(f"{msg_id}.{int(timestamp.timestamp())}.{data}".encode())
        return f"v1a,{base64.b64encode(signed).decode()}"

    @property
    def public(self) -> str:
        """What the other side checks with."""
        return PUBLIC + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()


def signers(given: Any) -> list[Signer]:
    """What signs, in the order given: by every one, so that any that the other side knows is enough.

    Args:
        given: secrets and private keys, by blank or line.

    Raises:
        SettingError: it is none; nothing of it is quoted.
    """
    return [_private_key(text) if text.startswith(PRIVATE) else _secret(text) for text in texts(given)]


def texts(given: Any) -> list[str]:
    """The secrets and private keys one by one.

    Raises:
        SettingError: there is none.
    """
    found = given.split() if isinstance(given, str) else []
    if not found:
        raise SettingError("secret must be given: whsec_ and 24 to 64 random bytes in base64; several by blank")
    return found


def bare(text: str) -> str:
    """A secret or a private key without what it begins with."""
    return text.removeprefix(SECRET).removeprefix(PRIVATE)


def _secret(text: str) -> Signer:
    if text.startswith(PUBLIC):
        raise SettingError(f"secret must be a secret, and this is a public key: the private one begins with {PRIVATE}")
    size = len(_decoded(text))
    if not SECRET_BYTES[0] <= size <= SECRET_BYTES[1]:
        raise SettingError(f"secret must be {SECRET_BYTES[0]} to {SECRET_BYTES[1]} bytes in base64, got {size} bytes")
    return Secret(text)


def _private_key(text: str) -> PrivateKey:
    size = len(decoded := _decoded(text))
    if size not in {SEED_BYTES, 2 * SEED_BYTES}:
        raise SettingError(f"secret must hold {SEED_BYTES} bytes in base64 behind {PRIVATE}, got {size} bytes")
    key = PrivateKey(text)
    if size > SEED_BYTES and PUBLIC + base64.b64encode(decoded[SEED_BYTES:]).decode() != key.public:
        raise SettingError(f"secret holds a private key and a public one behind {PRIVATE} that do not belong together")
    return key


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(bare(text), validate=True)
    except (binascii.Error, ValueError):
        raise SettingError(f"secret must be {SECRET} and base64, or {PRIVATE} and base64 for ed25519") from None
