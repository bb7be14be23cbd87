"""Where the archive stands: a folder of this machine, or any store that fsspec reaches.

A part is put there under a name that no file has had, so that nothing is ever written over but the manifest. That is
swapped in one step: on a file system by a rename of a file that is on the disk, in an object store by a put.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import fsspec

from pipeline.archive.rules.places import MANIFEST, Place, part_number, place_of
from pipeline.archive.rules.refused import ArchiveAwayError, BrokenArchiveError
from pipeline.recordings.store_trouble import StoreError, secrets_of, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SPOOL: Final = ".partial"
"""In a folder of this machine: files on their way, which no pattern of the archive's files finds."""
_BLOCK: Final = 1024 * 1024
_MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""No manifest is larger: a month has at most 31 parts."""


class ArchiveStore:
    """The archive below one URL.

    Args:
        url: any that fsspec knows, such as ``file:///srv/archive`` or ``s3://bucket/archive``.
        storage_options: for fsspec: credentials, endpoint, server-side encryption.

    Raises:
        ArchiveAwayError: fsspec cannot open it.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        options = dict(storage_options or {})
        self._secrets = secrets_of(url, options)
        self._local = urlsplit(url).scheme == "file"
        with self._trouble("open"):
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        self._root = root.rstrip("/")

    def try_out(self) -> None:
        """Put a file there and delete it."""
        with self.spooled() as file:
            file.write_bytes(b"whether files can be put here\n")
            if not self._local:
                path = f"{self._root}/{SPOOL}/{file.name}"
                with self._trouble("write to"):
                    self._files.put_file(str(file), path)
                with self._trouble("delete from"):
                    self._files.rm_file(path)

    def manifest(self, place: Place) -> bytes | None:
        """The manifest of a month as it stands there; None: there is none."""
        with self._trouble("read"):
            try:
                with self._files.open(self._path(place, MANIFEST), "rb") as file:
                    return bytes(file.read(_MANIFEST_BYTES))
            except (FileNotFoundError, IsADirectoryError):
                return None

    def swap_manifest(self, place: Place, content: bytes) -> None:
        """Put a manifest in the place of the one that is there: whoever reads finds the one or the other."""
        with self.spooled() as file:
            file.write_bytes(content)
            self._publish(file, place, MANIFEST)

    def put(self, file: Path, place: Place, name: str) -> None:
        """Put a part there; a local file below `spooled` is moved."""
        self._publish(file, place, name)

    def names(self, place: Place) -> list[str]:
        """The parts that are there, whether a manifest names them or not."""
        with self._trouble("list"):
            try:
                found = self._files.ls(self._path(place), detail=False)
            except FileNotFoundError:
                return []
        names = (each.rstrip("/").rpartition("/")[2] for each in found)
        return sorted(name for name in names if part_number(name) is not None)

    def places(self) -> list[Place]:
        """The months that have a folder."""
        with self._trouble("list"):
            found = self._files.glob(f"{self._root}/source=*/month=*")
        folders = ("/".join(each.rstrip("/").split("/")[-2:]) for each in found)
        return sorted(filter(None, map(place_of, folders)))

    def remove(self, place: Place, name: str) -> None:
        """Remove a part; to the same effect however often."""
        with self._trouble("delete from"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(place, name))

    @contextlib.contextmanager
    def spooled(self) -> Iterator[Path]:
        """A file of this machine to write to; it is gone at the end, published or not."""
        with self._trouble("write to"):
            folder = Path(self._root) / SPOOL if self._local else Path(tempfile.gettempdir())
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="archive-", suffix=".part", dir=folder)
            os.close(handle)
        file = Path(name)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def opened(self, place: Place, name: str) -> Iterator[Any]:
        """A part where it stands, of which only what is asked for is read; its checksum is not looked at.

        Raises:
            BrokenArchiveError: it is not there.
        """
        with self._trouble("read"):
            try:
                file = self._files.open(self._path(place, name), "rb", block_size=4 * _BLOCK)
            except (FileNotFoundError, IsADirectoryError):
                raise BrokenArchiveError(f"{place.folder}/{name} is not there") from None
        with file:
            yield file

    @contextlib.contextmanager
    def fetched(self, place: Place, name: str, *, sha256: str) -> Iterator[Path]:
        """A part as a file of this machine, whose bytes are those that were written.

        Raises:
            BrokenArchiveError: it is not there, or has other bytes.
        """
        digest = hashlib.sha256()
        with self.spooled() as file:
            with self._trouble("read"), file.open("wb") as copy:
                try:
                    with self._files.open(self._path(place, name), "rb", block_size=4 * _BLOCK) as stored:
                        while block := stored.read(_BLOCK):
                            digest.update(block)
                            copy.write(block)
                except (FileNotFoundError, IsADirectoryError):
                    raise BrokenArchiveError(f"{place.folder}/{name} is not there") from None
            if digest.hexdigest() != sha256:
                raise BrokenArchiveError(f"{place.folder}/{name} has other bytes than were written: SHA-256 differs")
            yield file

    def _publish(self, file: Path, place: Place, name: str) -> None:
        with self._trouble("write to"):
            path = self._path(place, name)
            if not self._local:
                self._files.put_file(str(file), path)
                return
            _sync(file)
            final = Path(path)
            final.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            file.chmod(0o640)
            file.replace(final)
            for folder in (final.parent, *final.parent.parents[:2]):  # the month, its dialler, the archive
                _sync(folder)

    def _path(self, place: Place, name: str = "") -> str:
        return f"{self._root}/{place.folder}/{name}".rstrip("/")

    @contextlib.contextmanager
    def _trouble(self, doing: str) -> Iterator[None]:
        """Whatever a file system raises, without credentials and as the archive's own."""
        kept: BrokenArchiveError | None = None
        try:
            with trouble(doing, self._secrets):
                try:
                    yield
                except BrokenArchiveError as error:
                    kept = error
        except StoreError as error:
            raise ArchiveAwayError(f"the archive's store: {error}; nothing was lost, try again") from None
        if kept is not None:
            raise kept


def _sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
