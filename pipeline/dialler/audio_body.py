"""The bytes of one recording as they come: counted, hashed and looked at before they are passed on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.dialler.rules.answers import Broken, Fetched
from pipeline.errors import cut

if TYPE_CHECKING:
    from pipeline.dialler.rules.answers import FetchResult

HEAD_BYTES: Final = 16

# Writers that do not know the length yet leave 0 or nearly all bits set; nothing can be read from those.
_RIFF_PLACEHOLDER: Final = 0x7FFF_0000


class Sink(Protocol):
    """Where the bytes go; what it raises is not the dialler's fault and passes through."""

    def write(self, data: bytes, /) -> object: ...

    def clear(self) -> object: ...


class Received:
    """What has come of one recording; nothing is passed on before it looks like audio."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._head = b""
        self._extension: str | None = None

    def restart(self) -> None:
        """Forget what came; the sink is emptied, too."""
        if self._extension:
            self._sink.clear()
        self._begin()

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._digest.update(chunk)
        if self._extension:
            self._sink.write(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD_BYTES:
            self._extension = audio_extension(self._head)
            if self._extension:
                self._sink.write(self._head)
                self._head = self._head[:HEAD_BYTES]

    def wrong_content(self) -> bool:
        return self._extension is None and len(self._head) >= HEAD_BYTES

    def complaint(self) -> str:
        start = self._head[:HEAD_BYTES].decode("latin-1")
        return f"The dialler's API sent something that is no audio: it begins with '{cut(start, 40)}'."

    def cut_off(self, declared: int) -> str:
        return f"The recording was cut off: {self.size} of {declared} bytes came."

    def finish(self, declared: int | None) -> FetchResult:
        if declared is not None and declared != self.size:
            return Broken(self.cut_off(declared))
        if self.size == 0:
            return Broken("The recording is empty.")
        if self._extension is None:
            return Broken(self.complaint())
        inside = riff_size(self._head)
        if inside is not None and inside > self.size + 1:  # some writers count a padding byte they do not write
            return Broken(f"The recording was cut off: its header speaks of {inside} bytes, and {self.size} came.")
        return Fetched(self.size, self._digest.digest(), self._extension)


EXTENSIONS: Final = (".wav", ".ogg", ".flac", ".mp3")
"""Every one that `audio_extension` knows."""


def audio_extension(head: bytes) -> str | None:
    """The file extension for audio that begins so; None when it is none we know.

    >>> audio_extension(b"RIFF....WAVEfmt ")
    '.wav'
    >>> audio_extension(b"<!DOCTYPE html><html>") is None
    True
    """
    if head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE":
        return ".wav"
    if head[:4] == b"OggS":
        return ".ogg"
    if head[:4] == b"fLaC":
        return ".flac"
    if head[:3] == b"ID3" or _is_mp3_frame(head):
        return ".mp3"
    return None


def _is_mp3_frame(head: bytes) -> bool:
    """Eleven bits set, then no reserved version, layer III, no bad bit rate and no bad sample rate."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer == 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def riff_size(head: bytes) -> int | None:
    """The size of the whole file as its RIFF header tells it; None without one, or if it was never filled in.

    >>> riff_size(b"RIFF" + (36).to_bytes(4, "little") + b"WAVE")
    44
    """
    size = int.from_bytes(head[4:8], "little")
    return size + 8 if head[:4] == b"RIFF" and 0 < size < _RIFF_PLACEHOLDER else None
