"""A file of the vendor's backup: looked through as a whole before anything of it is taken, then read chunk by chunk.

The same bytes are the same chunks for ever, whether they came packed, unpacked or through a pipe: what is imported is
known by the SHA-256 of the unpacked bytes and the number of the chunk.
"""

from __future__ import annotations

import array
import fcntl
import gzip
import hashlib
import os
import shutil
import stat
import tempfile
import uuid
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self, cast

from pipeline.completeness.rules.elements import NotElementsError, elements_of
from pipeline.completeness.rules.file_facts import LOOKED_AT, is_whole, why_not_cdrs
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Progress = Callable[[int], None]

CHUNK_ELEMENTS: Final = 2_000
"""Part of what identifies a chunk, hence no setting."""
CHUNK_BYTES: Final = 8 * 1024 * 1024
MOST_BYTES: Final = 64 * 1024**3
"""Of a file, unpacked."""
BLOCK_BYTES: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b"


class BackupFileError(PipelineError):
    """A file cannot be imported, and nothing of it was; the text says why."""


class ChangedError(PipelineError):
    """A file changed while it was being imported."""


class Survey(NamedTuple):
    """What a look through the whole file found."""

    name: str
    sha256: bytes
    size_bytes: int
    """Unpacked."""
    elements: int
    sums: array.array[int]
    """A checksum of each chunk: it is read a second time, and must be the same."""

    def claim(self, source: str, chunk: int) -> uuid.UUID:
        """The claim under which a chunk is settled: the same for the same bytes, whoever imports them when."""
        digest = hashlib.sha256(b"%s:%d:" % (self.sha256.hex().encode(), chunk) + source.encode()).digest()
        return uuid.UUID(bytes=digest[:16])


class BackupFile:
    """A file that can be read twice. A context manager.

    Args:
        path: the file; None reads standard input to its end first, into a temporary file.
        stdin: what that is.
    """

    def __init__(self, path: Path | None, *, stdin: BinaryIO | None = None) -> None:
        self.name = "standard input" if path is None else str(path)
        self._is_ours = path is None
        self._file = self._spooled(stdin) if path is None and stdin is not None else self._opened(path)
        self._stat = self._look()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def packed_bytes(self) -> int:
        """As it lies there."""
        return self._stat[0]

    def survey(self, progress: Progress = lambda _: None) -> Survey:
        """Look through all of it.

        Args:
            progress: is told how many bytes of it have been read, as it lies there.

        Raises:
            BackupFileError: it is none that could be imported, or somebody is still writing it.
        """
        self._refuse_while_written()
        seen = _Seen()
        first: list[bytes] = []
        sums, elements, last = array.array("L"), 0, b""
        try:
            for chunk in chunks_of(seen.through(self._blocks(progress))):
                first += chunk[: LOOKED_AT - len(first)]
                elements, last = elements + len(chunk), chunk[-1]
                sums.append(_sum(chunk))
                if reason := why_not_cdrs(first) if len(sums) == 1 else None:
                    raise self._refused(reason)
        except NotElementsError as error:
            raise self._refused(str(error)) from None
        if not elements:
            raise self._refused("holds no records")
        if not seen.ends_a_line and not is_whole(last):
            raise self._refused("its last line is cut off: it is still being written, or was not copied whole")
        self._refuse_while_written()
        return Survey(self.name, seen.digest, seen.size, elements, sums)

    def chunks(self, survey: Survey) -> Iterator[list[bytes]]:
        """Its chunks, each looked at whether it is what the survey saw.

        Raises:
            ChangedError: it is not.
        """
        count = 0
        try:
            for count, chunk in enumerate(chunks_of(self._blocks(lambda _: None)), 1):
                if count > len(survey.sums) or _sum(chunk) != survey.sums[count - 1]:
                    break
                yield chunk
            else:
                if count == len(survey.sums):
                    return
        except (NotElementsError, BackupFileError):
            pass
        raise ChangedError(f"{self.name} changed while it was being imported: it is still being written")

    def _refused(self, why: str) -> BackupFileError:
        return BackupFileError(f"{self.name} is not imported: {why}")

    def _look(self) -> tuple[int, int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _refuse_while_written(self) -> None:
        if self._look() != self._stat or (not self._is_ours and _is_open_for_writing(self._file)):
            raise self._refused("it is still being written: import it when it is whole")

    def _blocks(self, progress: Progress) -> Iterator[bytes]:
        """The unpacked bytes from the beginning on."""
        raw = self._file
        raw.seek(0)
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
        total = 0
        try:
            while block := stream.read(BLOCK_BYTES):
                total += len(block)
                if total > MOST_BYTES:
                    raise self._refused(f"unpacked it has more than {MOST_BYTES // 1024**3} GiB: split it by lines")
                progress(raw.tell())
                yield block
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._refused(f"its compression is broken or cut off ({error})") from None
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror or error}") from None

    def _opened(self, path: Path | None) -> BinaryIO:
        if path is None:
            raise BackupFileError("there is no file")
        try:
            file = path.open("rb")
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from None
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            file.close()
            raise self._refused("it is no regular file; a pipe can be read as -")
        return file

    @staticmethod
    def _spooled(stdin: BinaryIO) -> BinaryIO:
        file = cast("BinaryIO", tempfile.TemporaryFile(prefix="cdr-import-"))  # noqa: SIM115 - closed at our own end
        try:
            shutil.copyfileobj(stdin, file, BLOCK_BYTES)
            file.flush()
        except OSError as error:
            file.close()
            raise BackupFileError(
                f"standard input is not imported: {error.strerror}; TMPDIR names where it is put first"
            ) from None
        return file


class _Seen:
    """Watches bytes go by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0
        self.ends_a_line = True

    def through(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._hash.update(block)
            self.size += len(block)
            self.ends_a_line = block.endswith((b"\n", b"]"))
            yield block

    @property
    def digest(self) -> bytes:
        return self._hash.digest()


def chunks_of(blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Elements by chunks: the boundaries depend on nothing but the bytes."""
    chunk: list[bytes] = []
    size = 0
    for element in elements_of(blocks):
        chunk.append(element)
        size += len(element)
        if len(chunk) == CHUNK_ELEMENTS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _sum(chunk: list[bytes]) -> int:
    found = 0
    for element in chunk:
        found = zlib.crc32(b"\n", zlib.crc32(element, found))
    return found


def _is_open_for_writing(file: BinaryIO) -> bool:
    """Whether somebody has the file open for writing, where the system tells: a lease is not given then."""
    try:
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # not ours, or no file system that has leases: its size and time must tell
        return False
    return False
