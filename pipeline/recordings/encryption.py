"""Recordings encrypted on their way to the store, and decrypted on their way out: AES-256-GCM, a chunk at a time.

Each file has a random key of its own, which stands in its header, wrapped with the key of its month. So the key of a
month encrypts nothing but keys, and whoever destroys it makes all files of the month unreadable.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from pipeline.recordings.rules.encrypted import (
    CHUNK_BYTES,
    CannotDecryptError,
    Header,
    Layout,
    header_bytes,
    nonce,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.recordings.partial_files import Partial
    from pipeline.recordings.rules.encrypted import KeyName

KEY_BITS: Final = 256
_AT_ONCE: Final = 16
"""Chunks that are read at once: a megabyte."""


class EncryptedPartial:
    """A recording on its way, encrypted before a byte of it reaches a disk.

    Args:
        partial: the file.
        key: the name of the key of its month.
        secret: that key, 32 bytes.
    """

    def __init__(self, partial: Partial, key: KeyName, secret: bytes) -> None:
        self.key = key
        self._partial, self._secret = partial, secret
        self._begin()

    @property
    def path(self) -> Path:
        """The file."""
        return self._partial.path

    def _begin(self) -> None:
        own = AESGCM.generate_key(KEY_BITS)
        self._header = Header(CHUNK_BYTES, aes_key_wrap(self._secret, own), self.key.text).packed()
        self._cipher = AESGCM(own)
        self._index = 0
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> None:
        """Append.

        Raises:
            StoreError: the disk is full or broken.
        """
        self._waiting += data
        # What may be the end of it waits: the last chunk is marked as such.
        while len(self._waiting) > CHUNK_BYTES:
            self._put(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]

    def clear(self) -> None:
        """Begin again with nothing written, and with another key: none encrypts two recordings.

        Raises:
            StoreError: the disk is full or broken.
        """
        self._partial.clear()
        self._begin()

    def seal(self) -> int:
        """Bring all of it to the disk itself, once; returns how much of the recording is there."""
        self._put(bytes(self._waiting), last=True)
        self._waiting.clear()
        return Layout(len(self._header)).plain(self._partial.seal()) or 0

    def _put(self, plain: bytes, *, last: bool) -> None:
        if not self._index:
            self._partial.write(self._header)
        self._partial.write(self._cipher.encrypt(nonce(self._index, last=last), plain, self._header))
        self._index += 1


def decrypted(
    stored: IO[bytes], key: KeyName, secret: bytes, first: int = 0, length: int | None = None
) -> Iterator[bytes]:
    """The bytes of an encrypted recording, a megabyte at a time; only the chunks that hold them are read.

    Args:
        stored: the file.
        key: the name of the key that it must be encrypted with.
        secret: that key, 32 bytes.
        first: the byte of the recording to begin with.
        length: how many at the most; None: all that follow, to the end that was encrypted.

    Raises:
        CannotDecryptError: it is not what was encrypted; of a chunk that was changed no byte is given.
    """
    head = stored.read(header_bytes(key))
    reading = _Reading(stored, head, _own_cipher(head, key, secret))
    to = reading.size if length is None else min(reading.size, first + length)
    yield from reading.read(first, to, to_the_end=length is None)


def _own_cipher(head: bytes, key: KeyName, secret: bytes) -> AESGCM:
    header = Header.unpacked(head)
    if header.key != key.text:
        raise CannotDecryptError(
            f"it says that it is encrypted with the key {header.key}, and should be with {key.text}"
        )
    try:
        return AESGCM(aes_key_unwrap(secret, header.wrapped))
    except InvalidUnwrap:
        raise CannotDecryptError(
            f"{key} does not fit it: the key is another one by now, or its header was changed"
        ) from None


class _Reading:
    def __init__(self, stored: IO[bytes], head: bytes, cipher: AESGCM) -> None:
        self._stored, self._head, self._cipher = stored, head, cipher
        self._layout = Layout(len(head), Header.unpacked(head).chunk_bytes)
        size = self._layout.plain(stored.seek(0, 2))
        if size is None:
            raise CannotDecryptError(
                "it was cut off, or something was put behind it: no encrypted recording has its size"
            )
        self.size = size
        self._last = self._layout.chunks(size) - 1

    def read(self, first: int, to: int, *, to_the_end: bool) -> Iterator[bytes]:
        chunk = self._layout.chunk_bytes
        index = min(first // chunk, self._last)
        # An end that nobody has looked at may not be the end.
        end = self._last if to_the_end else (to - 1) // chunk
        self._stored.seek(len(self._head) + index * self._layout.stride)
        while index <= end:
            many = min(_AT_ONCE, end - index + 1)
            plain = self._chunks(index, many)
            at = index * chunk
            if part := plain[max(0, first - at) : max(0, to - at)]:
                yield part
            index += many

    def _chunks(self, index: int, many: int) -> bytes:
        stride = self._layout.stride
        read = memoryview(self._stored.read(many * stride))
        return b"".join(
            self._chunk(index + place, read[place * stride : (place + 1) * stride]) for place in range(many)
        )

    def _chunk(self, index: int, read: memoryview) -> bytes:
        try:
            return self._cipher.decrypt(nonce(index, last=index == self._last), read, self._head)
        except InvalidTag:
            raise CannotDecryptError(
                f"its chunk {index + 1} of {self._last + 1} is not what was encrypted: bytes were changed, moved, "
                "cut off or put behind it"
            ) from None
