"""How an encrypted recording is laid out: a header, then chunks, each encrypted and authenticated by itself.

docs/recordings.md has the same for whoever reads a file without this program.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from pipeline.errors import DataError, PipelineError, shown
from pipeline.recordings.rules.path import safe_part

MAGIC: Final = b"CDRENC01"
"""What such a file begins with; the last two are the version of the layout."""
CHUNK_BYTES: Final = 64 * 1024
"""How much of a recording is in each chunk but the last."""
MOST_CHUNK_BYTES: Final = 1024 * 1024
TAG_BYTES: Final = 16
"""By so much AES-GCM makes a chunk longer."""
WRAPPED_BYTES: Final = 40
"""A key of 32 bytes, wrapped as RFC 3394 has it."""

_FIXED: Final = struct.Struct(f">{len(MAGIC)}sI{WRAPPED_BYTES}sB")


class CannotDecryptError(PipelineError):
    """What is stored cannot be decrypted: its key is not there, or its bytes were changed. Its text says which."""


class KeyName(NamedTuple):
    """Which key: each dialler has one a month, by when a call was dialled (UTC)."""

    source: str
    month: str

    @classmethod
    def at(cls, source: str, dialed_at: datetime) -> KeyName:
        """The key for a call.

        >>> KeyName.at("enigma", datetime(2026, 11, 1, 1, tzinfo=UTC)).text
        'enigma/2026-11'
        """
        return cls(source, f"{dialed_at.astimezone(UTC):%Y-%m}")

    @property
    def text(self) -> str:
        """As a file's header has it; below the folder of keys its file is called so, with an ending."""
        return f"{safe_part(self.source)}/{self.month}"

    def __str__(self) -> str:
        """As a sentence names it."""
        return f"the key of {self.month} of {self.source}"


def month_of(text: str) -> str:
    """A month as keys are named by.

    Raises:
        DataError: it is none.

    >>> month_of("2026-10")
    '2026-10'
    """
    try:
        return f"{date.fromisoformat(f'{text}-01'):%Y-%m}"
    except ValueError:
        raise DataError("month", f"must be a month such as 2026-10, got {shown(text)}") from None


def begin_of(month: str) -> datetime:
    """The instant with which a month begins."""
    return datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)


def end_of(month: str) -> datetime:
    """The instant with which a month is over.

    >>> end_of("2026-12").isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    return (begin_of(month) + timedelta(days=31)).replace(day=1)


class Header(NamedTuple):
    """What a file begins with; all of it is authenticated with each chunk."""

    chunk_bytes: int
    wrapped: bytes
    """The key of this file alone, wrapped with that of the month."""
    key: str
    """The name of the key of the month."""

    def packed(self) -> bytes:
        """Its bytes."""
        name = self.key.encode("ascii")
        return _FIXED.pack(MAGIC, self.chunk_bytes, self.wrapped, len(name)) + name

    @classmethod
    def unpacked(cls, data: bytes) -> Header:
        """The header that these bytes are.

        Raises:
            CannotDecryptError: they are none.
        """
        if len(data) < _FIXED.size or not data.startswith(MAGIC):
            raise CannotDecryptError("it should be encrypted, and does not begin as an encrypted recording does")
        _, chunk_bytes, wrapped, length = _FIXED.unpack(data[: _FIXED.size])
        name = data[_FIXED.size :]
        if not 0 < chunk_bytes <= MOST_CHUNK_BYTES or len(name) != length or not name.isascii():
            raise CannotDecryptError("it begins as an encrypted recording does, and goes on as none does")
        return cls(chunk_bytes, wrapped, name.decode("ascii"))


def header_bytes(key: KeyName) -> int:
    """How long the header of a file is that is encrypted with a key."""
    return _FIXED.size + len(key.text)


class Layout(NamedTuple):
    """Where what is in a file."""

    header_bytes: int
    chunk_bytes: int = CHUNK_BYTES

    @property
    def stride(self) -> int:
        """From one chunk to the next."""
        return self.chunk_bytes + TAG_BYTES

    def chunks(self, plain_bytes: int) -> int:
        """How many chunks a recording has; an empty one has one.

        >>> [Layout(0, 4).chunks(plain) for plain in (0, 1, 4, 5)]
        [1, 1, 1, 2]
        """
        return max(1, -(-plain_bytes // self.chunk_bytes))

    def stored(self, plain_bytes: int) -> int:
        """How long the file of a recording is."""
        return self.header_bytes + plain_bytes + TAG_BYTES * self.chunks(plain_bytes)

    def plain(self, stored_bytes: int) -> int | None:
        """How long the recording in a file is; None: no file is so long.

        >>> layout = Layout(10, 4)
        >>> [layout.plain(layout.stored(plain)) for plain in (0, 1, 4, 5)], layout.plain(25)
        ([0, 1, 4, 5], None)
        """
        body = stored_bytes - self.header_bytes
        plain_bytes = body - TAG_BYTES * -(-body // self.stride)
        return plain_bytes if plain_bytes >= 0 and self.stored(plain_bytes) == stored_bytes else None


def stored_bytes(plain_bytes: int, key: KeyName | None) -> int:
    """How long the file of a recording is, encrypted with a key or, with None, as it is."""
    return plain_bytes if key is None else Layout(header_bytes(key)).stored(plain_bytes)


def nonce(index: int, *, last: bool) -> bytes:
    """That of a chunk: its place, and whether it is the last, so that none can be moved, left out or put behind.

    A key encrypts one file only, once, so no nonce is used twice with it.
    """
    return index.to_bytes(11, "big") + bytes([last])
