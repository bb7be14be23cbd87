"""Recordings on their way: files on a local disk, under names that nobody takes for a recording's."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.recordings.store_trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.recordings.rules.encrypted import KeyName

SUFFIX: Final = ".part"


@dataclass(slots=True)
class Partial:
    """A recording on its way: a file that only its writer knows."""

    path: Path
    _file: Any = field(repr=False)
    key: KeyName | None = None
    """None: it is kept as it comes."""

    def write(self, data: bytes, /) -> None:
        """Append.

        Raises:
            StoreError: the disk is full or broken.
        """
        with trouble("write to", {}):
            self._file.write(data)

    def clear(self) -> None:
        """Begin again with nothing written.

        Raises:
            StoreError: the disk is full or broken.
        """
        with trouble("write to", {}):
            self._file.seek(0)
            self._file.truncate()

    def seal(self) -> int:
        """Bring everything written to the disk itself; returns the size."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size


class Spool(NamedTuple):
    """The folder in which a store's partial files are."""

    folder: Path
    secrets: Mapping[str, str]
    """What no error may tell."""

    @contextlib.contextmanager
    def partial(self) -> Iterator[Partial]:
        """A file to write a recording to. It is gone at the end, published or not.

        Raises:
            StoreError: no such file can be made.
        """
        path = self.folder / f"{uuid.uuid4()}{SUFFIX}"
        with trouble("write to", self.secrets):
            self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb")
        try:
            yield Partial(path, file)
        finally:
            with contextlib.suppress(OSError):  # bytes that a full disk did not take
                file.close()
            with contextlib.suppress(OSError):  # what stays is removed by `clean`
                path.unlink()

    def clean(self, *, older_than_seconds: float) -> int:
        """Remove partial files that nobody has written to for so long; returns how many."""
        oldest, removed = time.time() - older_than_seconds, 0
        with trouble("clean", self.secrets):
            for path in self.folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):  # its writer was faster
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        removed += 1
        return removed


def own_temporary_folder() -> Path:
    """A folder below the system's temporary one that no other user can have prepared."""
    folder = Path(tempfile.gettempdir()) / f"enigma-cdr-recordings-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o170077 != 0o040000:
        raise ValueError(f"{folder} is not ours alone; remove it, or name another folder as the spool")
    return folder
