"""Listening to a recording: its bytes, or a part of them, as they were stored or decoded for a browser.

Who hears what is committed to ``access_log`` before the first byte is given away. Which web framework carries the bytes
is for the shells.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.database.access_log import note_listening
from pipeline.recordings.fetching import DiffersError
from pipeline.recordings.file_store import Checksum
from pipeline.recordings.retention import problem_of, size_problem_of
from pipeline.recordings.rules.byte_range import bytes_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from pipeline.database.access_log import Visitor
    from pipeline.recordings.decoding import Decoder
    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.retention_rows import KeptFile

MEDIA_TYPES: Final = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
}
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


class Wanted(NamedTuple):
    """Which form of a recording, and which bytes; the last two are headers as they came."""

    as_wav: bool = False
    range_: str | None = None
    if_range: str | None = None


class Answer(NamedTuple):
    """What is answered to whoever wants to listen."""

    status: int
    """200, 206, or 416 with no bytes."""
    headers: dict[str, str]
    parts: Iterator[bytes]
    """The bytes; one that ends in an error has not brought as many as the header says."""


class _Body(NamedTuple):
    size: int
    etag: str
    media_type: str
    disposition: str
    read: Callable[[int, int], Iterator[bytes]]


def listen(
    engine: Engine, store: RecordingStore, decoder: Decoder, file: KeptFile, wanted: Wanted, *, visitor: Visitor
) -> Answer:
    """The bytes of a recording, for somebody of whom it is written down by then that they have them.

    Args:
        engine: the database.
        store: that of the recording's dialler.
        decoder: this process's.
        file: the recording.
        wanted: which bytes in which form.
        visitor: who listens.

    Raises:
        NotLoggedError: it could not be written down; not a byte is given away.
        NoSuchFileError: the store has no such file.
        StoreError: it cannot be read.
        CannotDecryptError: its key is not there, or its bytes were changed.
        DiffersError: it is not what was stored.
        BrokenAudioError: it cannot be decoded.
        BusyError: too many others are being decoded.
    """
    body = _decoded(store, decoder, file) if wanted.as_wav else _stored(store, file)
    answered = bytes_wanted(body.size, body.etag, range_=wanted.range_, if_range=wanted.if_range)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",  # each hearing is asked for, and written down
        "Content-Type": body.media_type,
        "Content-Length": str(answered.length),
        "ETag": body.etag,
        "X-Content-Type-Options": "nosniff",
    }
    if answered.status == 416:
        return Answer(416, headers | {"Content-Range": f"bytes */{body.size}"}, iter(()))
    if answered.status == 206:
        headers["Content-Range"] = f"bytes {answered.first}-{answered.last}/{body.size}"
    headers["Content-Disposition"] = body.disposition
    parts = body.read(answered.first, answered.length)
    # What cannot be read is nobody's: the first part is in hand before it is written down who gets it.
    first = next(parts, b"")
    form = "wav" if wanted.as_wav else "stored"
    detail = {"form": form, "first": answered.first, "bytes": answered.length, "of": body.size}
    note_listening(engine, visitor, call_id=file.call_id, source=file.source, call_ref=file.call_ref, detail=detail)
    return Answer(answered.status, headers, _chained(first, parts))


def _chained(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    """A generator, so that whoever has enough of it can close it, and what it reads from with it."""
    yield first
    yield from parts


def _stored(store: RecordingStore, file: KeptFile) -> _Body:
    suffix = PurePosixPath(file.path).suffix.lower()
    return _Body(
        file.size_bytes,
        f'"{file.sha256.hex()}"',
        MEDIA_TYPES.get(suffix, "application/octet-stream"),
        f'attachment; filename="{_NO_NAME.sub("_", PurePosixPath(file.path).name)}"',
        lambda first, length: _compared(store, file, first, length),
    )


def _decoded(store: RecordingStore, decoder: Decoder, file: KeptFile) -> _Body:
    pcm = decoder.decoded(file.sha256, lambda: _compared(store, file, 0, file.size_bytes))
    name = _NO_NAME.sub("_", file.call_ref)
    return _Body(pcm.size, f'"{file.sha256.hex()}-wav"', "audio/wav", f'inline; filename="{name}.wav"', pcm.read)


def _compared(store: RecordingStore, file: KeptFile, first: int, length: int) -> Iterator[bytes]:
    """Bytes of a stored file: of the whole the last part is given away once all of them are what was stored.

    Of a part only the size of the file can be compared; a chunk of an encrypted one shows by itself that it is right.
    """
    if length < file.size_bytes:
        if problem := _size_problem(store, file):
            raise DiffersError(problem)
        yield from store.read(file.path, first, length, key=file.key)
        return
    digest, size, held = hashlib.sha256(), 0, b""
    for part in store.read(file.path, key=file.key):
        digest.update(part)
        size += len(part)
        if held:
            yield held
        held = part
        if size > file.size_bytes:
            break
    if problem := problem_of(file, Checksum(size, digest.digest())):
        raise DiffersError(problem)
    if held:
        yield held


def _size_problem(store: RecordingStore, file: KeptFile) -> str | None:
    return size_problem_of(file, store.size(file.path))
