"""A provider's file on the disk: known by its bytes, decoded by its byte order mark or its mapping, read row by row."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
from typing import TYPE_CHECKING, Any, Final, Self

from pipeline.accounts.rules.entries import FileRefusedError, Reading
from pipeline.accounts.rules.rows import Rows

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.accounts.rules.mapping import Mapping

BLOCK_BYTES: Final = 1024 * 1024
LOOKED_AT_BYTES: Final = 4_096
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class ProviderFile:
    """A file that can be read several times. A context manager.

    Args:
        path: where it is.

    Raises:
        FileRefusedError: it is none that can be read.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("rb", buffering=0)
        facts = os.fstat(self._file.fileno())
        self.size_bytes = facts.st_size
        if not stat.S_ISREG(facts.st_mode):
            self._file.close()
            raise FileRefusedError(f"{path} is not loaded: it is no file")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def sha256(self) -> str:
        """Of its bytes, in hexadecimal digits."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def opened(self, mapping: Mapping, *, zone: str, region: str) -> Opened:
        """It at its beginning, to be read by a mapping.

        Args:
            mapping: how.
            zone: of its times.
            region: of numbers written as dialled.

        Raises:
            FileRefusedError: its encoding is another than is said.
        """
        self._file.seek(0)
        beginning = self._file.read(LOOKED_AT_BYTES) or b""
        self._file.seek(0)
        encoding = self._encoding(beginning, mapping.file.encoding)
        return Opened(self, self._file, mapping, zone=zone, region=region, encoding=encoding)

    def _encoding(self, beginning: bytes, said: str) -> str:
        for mark, encoding in _MARKS:
            if beginning.startswith(mark):
                return encoding
        name = codecs.lookup(said).name
        if not name.startswith("utf-16") and beginning.count(0) > len(beginning) // 5:
            raise FileRefusedError(
                f"{self.name} is no text in {said}, for much of it is NUL bytes: is it UTF-16? Say so in file.encoding"
            )
        return name


class Opened:
    """One reading of a file: its entries, how far it is, and whether it was the file that it was."""

    def __init__(
        self,
        file: ProviderFile,
        raw: io.RawIOBase | io.FileIO,
        mapping: Mapping,
        *,
        zone: str,
        region: str,
        encoding: str,
    ) -> None:
        self._file = file
        self._hashed = _Hashed(raw)
        self._encoding = encoding
        # UTF-16 has no bytes that could be shown one by one.
        wide = encoding.startswith(("utf-16", "utf-32"))
        self._text = io.TextIOWrapper(
            io.BufferedReader(self._hashed, BLOCK_BYTES), encoding, "strict" if wide else "surrogateescape", newline=""
        )
        rows = Rows(self._line, mapping.file.delimiter, mapping.file.quote)
        self.entries = Reading(rows, mapping, zone=zone, region=region, encoding=encoding)

    @property
    def read_bytes(self) -> int:
        """How far it is."""
        return self._hashed.taken

    def sha256(self) -> str:
        """Of what was read; all of it, at its end."""
        return self._hashed.digest.hexdigest()

    def _line(self, most: int) -> str:
        try:
            return self._text.readline(most)
        except UnicodeError as error:
            raise FileRefusedError(f"{self._file.name} is no text in {self._encoding}: {error}") from None


class _Hashed(io.RawIOBase):
    """A file that adds up what is read of it; closing it leaves the file open."""

    def __init__(self, raw: io.RawIOBase | io.FileIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.taken = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some."""
        view = memoryview(buffer)
        taken = self._raw.readinto(view) or 0
        self.digest.update(view[:taken])
        self.taken += taken
        return taken
