"""Where recordings are kept: any file system or object store that can publish a whole file in one step.

A recording is first written to a partial file on a local disk, under a name nobody takes for a recording.
Only when it is complete it appears under its final name, in one step that cannot overwrite: on a file system
by a hard link from the partial file, in an object store by a put that is refused if the name exists. Where there are
keys it is encrypted before it is in the partial file, and sizes and checksums are those of the recording all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import fsspec

from pipeline.errors import cut
from pipeline.recordings.encryption import EncryptedPartial, decrypted
from pipeline.recordings.final_names import PUT_OPTIONS, link, put
from pipeline.recordings.partial_files import Spool, own_temporary_folder
from pipeline.recordings.rules.encrypted import CannotDecryptError, stored_bytes
from pipeline.recordings.rules.pace import DAY_SECONDS
from pipeline.recordings.rules.path import TEMPLATE, checked_template, recording_path
from pipeline.recordings.rules.store_facts import StoreFacts
from pipeline.recordings.store_trouble import NoSuchFileError, StoreError, secrets_of, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from pipeline.recordings.keys import RecordingKeys
    from pipeline.recordings.partial_files import Partial
    from pipeline.recordings.rules.encrypted import KeyName

PARTIALS: Final = ".partial"

MARKER: Final = ".enigma-cdr-store"
"""The file by which a store is known; no recording's path has a hidden part."""

_READ_BYTES: Final = 1024 * 1024
_MARKER_BYTES: Final = 200


class Place(NamedTuple):
    """What a recording's name is made of."""

    source: str
    call_ref: str
    dialed_at: datetime
    extension: str


class Published(NamedTuple):
    """The recording is under its final name; ``fresh`` is false when the same bytes were there before."""

    path: str
    fresh: bool
    key_month: str | None = None
    """The month by whose key it is encrypted; None: it is there as it came."""


class NameTaken(NamedTuple):
    """Something else is under that name, and stays there."""

    reason: str


class Checksum(NamedTuple):
    """What a stored file really holds."""

    size: int
    sha256: bytes


class RecordingStore:
    """Recordings below one fsspec URL; for any number of threads, processes and machines.

    Args:
        url: ``file:///folder``, ``s3://bucket/folder``, ``gs://bucket/folder`` or, in tests, ``memory://folder``.
        template: a recording's path below it, made of ``{source}``, ``{call_ref}``, ``{dialed_at}`` (UTC) and
            ``{ext}``.
        storage_options: for fsspec: credentials, endpoint, server-side encryption.
        spool: the local folder for the partial files of an object store; default: below the system's
            temporary folder. A local store keeps them in itself.
        keys: by which new recordings are encrypted; None: they are kept as they come, and none that is encrypted can
            be read.

    Raises:
        ValueError: the URL's kind cannot publish in one step, or the template cannot name recordings.
    """

    def __init__(
        self,
        url: str,
        template: str = TEMPLATE,
        *,
        storage_options: Mapping[str, Any] | None = None,
        spool: Path | None = None,
        keys: RecordingKeys | None = None,
    ) -> None:
        kind = urlsplit(url).scheme
        if kind not in PUT_OPTIONS:
            raise ValueError(f"a store must be file://, s3:// or gs://, got {kind}://")
        self._template = checked_template(template)
        self._put_options = PUT_OPTIONS[kind]
        options = dict(storage_options or {})
        self._secrets = secrets_of(url, options)
        with trouble("open", self._secrets):
            # A cached listing would not show what another process has just published.
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        self._root = root.rstrip("/")
        self._local = kind == "file"
        folder = Path(self._root) / PARTIALS if self._local else spool or own_temporary_folder()
        self._spool = Spool(folder, self._secrets)
        self._keys = keys

    def path_for(self, place: Place) -> str:
        """The path of a recording below the store's URL.

        Different calls have different paths, whatever their names hold, and none leads out of the store.
        """
        return recording_path(self._template, **place._asdict())

    @property
    def encrypts(self) -> bool:
        """Whether new recordings are encrypted."""
        return self._keys is not None

    @contextlib.contextmanager
    def recording(self, key: KeyName, *, needed: str | None = None) -> Iterator[Partial | EncryptedPartial]:
        """A file to write a recording to, encrypted where there are keys. It is gone at the end, published or not.

        Args:
            key: which is that of its month.
            needed: a month of the same dialler whose key must be there before another is made.

        Raises:
            KeyDestroyedError: its key was destroyed: it is not to be kept.
            StoreError: no such file can be made.
        """
        secret = None if self._keys is None else self._keys.to_write(key, needed=needed)
        with self.partial() as partial:
            yield partial if secret is None else EncryptedPartial(partial, key, secret)

    def partial(self) -> AbstractContextManager[Partial]:
        """A file to write to as it comes. It is gone at the end, published or not.

        Raises:
            StoreError: no such file can be made.
        """
        return self._spool.partial()

    def publish(
        self, partial: Partial | EncryptedPartial, place: Place, *, size: int, sha256: bytes
    ) -> Published | NameTaken:
        """Put a complete partial file under its final name, if nothing is there.

        Args:
            partial: the file.
            place: what its name is made of.
            size: of the recording, in bytes.
            sha256: of the recording.

        Raises:
            StoreError: it could not be put there; the final name is as it was.
        """
        path = self.path_for(place)
        with trouble("write to", self._secrets):
            written = partial.seal()
            if written != size:
                raise StoreError(f"{written} of {size} bytes reached the disk")
            fresh = self._publish(partial.path, path)
        if fresh:
            return Published(path, fresh=True, key_month=partial.key and partial.key.month)
        for key in dict.fromkeys((None, partial.key)):
            if self._holds(path, Checksum(size, sha256), key):
                return Published(path, fresh=False, key_month=key and key.month)
        return NameTaken(f"Another file is already stored as '{cut(path, 200)}'; it was not overwritten.")

    def _holds(self, path: str, wanted: Checksum, key: KeyName | None) -> bool:
        """Whether a file holds a recording, encrypted with a key or as it came."""
        if self.size(path) != stored_bytes(wanted.size, key):
            return False
        try:
            return self.checksum(path, key=key) == wanted
        except CannotDecryptError:
            return False

    def checksum(self, path: str, *, key: KeyName | None = None) -> Checksum | None:
        """Read a stored recording from end to end; None when there is no file of that name.

        Args:
            path: its path below the store's URL.
            key: which it is encrypted with; None: it is there as it came.

        Raises:
            CannotDecryptError: its key is not there, or it is not what was encrypted.
            StoreError: it cannot be read.
        """
        digest, size = hashlib.sha256(), 0
        try:
            for part in self.read(path, key=key):
                digest.update(part)
                size += len(part)
        except NoSuchFileError:
            return None
        return Checksum(size, digest.digest())

    def read(
        self, path: str, first: int = 0, length: int | None = None, *, key: KeyName | None = None
    ) -> Iterator[bytes]:
        """The bytes of a stored recording, a part at a time.

        Args:
            path: its path below the store's URL.
            first: the byte to begin with.
            length: how many at the most; None: all that follow.
            key: which it is encrypted with; None: it is there as it came.

        Raises:
            NoSuchFileError: there is no file of that name.
            CannotDecryptError: its key is not there, or it is not what was encrypted.
            StoreError: it cannot be read.
        """
        secret = None if key is None else self._key(key)
        # A part is asked for by exactly its bytes; what is read from end to end is read ahead.
        ahead = {"block_size": 4 * _READ_BYTES} if key is None or length is None else {"cache_type": "none"}
        with trouble("read", self._secrets):
            try:
                with self._files.open(self._full(path), "rb", **ahead) as stored:
                    if key is None or secret is None:
                        yield from _plain(stored, first, length)
                    else:
                        yield from decrypted(stored, key, secret, first, length)
            except (FileNotFoundError, IsADirectoryError):
                raise NoSuchFileError(f"it has no file {cut(path, 200)}") from None

    def _key(self, key: KeyName) -> bytes:
        if self._keys is None:
            raise CannotDecryptError(f"it is encrypted with {key}, and RECORDINGS_KEYS_URL is not set here")
        return self._keys.to_read(key)

    def delete(self, path: str) -> bool:
        """Delete a stored recording; False when there is no file of that name.

        Raises:
            StoreError: it cannot be deleted.
        """
        with trouble("delete from", self._secrets):
            try:
                # S3 says yes to the deletion of what is not there.
                if not self._local and not self._files.exists(self._full(path)):
                    return False
                self._files.rm_file(self._full(path))
            except FileNotFoundError:
                return False
        return True

    def size(self, path: str) -> int | None:
        """The size of a stored file, encrypted or not; None when there is none of that name.

        Raises:
            StoreError: it cannot be looked at.
        """
        with trouble("read", self._secrets):
            try:
                found = self._files.info(self._full(path))
            except FileNotFoundError:
                return None
        return int(found["size"]) if found["type"] == "file" else None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine, on which something may be mounted or not."""
        return self._local

    def marker(self) -> str | None:
        """What the store's marker says; None when it has none.

        Raises:
            StoreError: the store cannot be read.
        """
        with trouble("read", self._secrets):
            try:
                with self._files.open(self._full(MARKER), "rb") as marker:
                    said = marker.read(_MARKER_BYTES)
            except (FileNotFoundError, IsADirectoryError):
                return None
        return str(said.decode("ascii", "replace").strip()) or None

    def mark(self, said: str) -> str:
        """Put a marker into the store, unless there is one; returns what the marker says.

        Raises:
            StoreError: it cannot be put there.
        """
        self._put_small(MARKER, said.encode("ascii"))
        marker = self.marker()
        if marker is None:
            raise StoreError(f"its marker {MARKER} is empty or no file: remove it")
        return marker

    def clean_partials(self, *, older_than_seconds: float = DAY_SECONDS) -> int:
        """Remove partial files that nobody has written to for so long; returns how many."""
        return self._spool.clean(older_than_seconds=older_than_seconds)

    def try_out(self) -> StoreFacts:
        """Write a small file, read it back and delete it: what a recording needs of the store.

        Raises:
            StoreError: one of these does not work.
        """
        began = time.monotonic()
        path, content = f".trial-{uuid.uuid4()}", b"pipeline doctor"
        if not self._put_small(path, content):
            raise StoreError("a name that nobody can have taken is taken")
        try:
            if self.checksum(path) != Checksum(len(content), hashlib.sha256(content).digest()):
                raise StoreError("it gives back other bytes than it was given")
        finally:
            self.delete(path)
        seconds = time.monotonic() - began
        if not self._local:
            return StoreFacts(seconds)
        disk = shutil.disk_usage(self._root)
        return StoreFacts(seconds, disk.free, disk.total)

    def free_share(self) -> float | None:
        """How much of the disk below it is free, 0 to 1; None where it has none of this machine, or cannot tell."""
        if not self._local:
            return None
        try:
            disk = shutil.disk_usage(self._root)
        except OSError:  # not made yet, or away
            return None
        return disk.free / disk.total

    def _put_small(self, path: str, content: bytes) -> bool:
        """Put a file there in one step; False when its name is taken."""
        with self.partial() as partial:
            partial.write(content)
            partial.seal()
            with trouble("write to", self._secrets):
                return self._publish(partial.path, path)

    def _publish(self, partial: Path, path: str) -> bool:
        """Give a complete partial file its final name in one step; False when that is taken."""
        if self._local:
            return link(partial, Path(self._full(path)))
        return put(self._files, partial, self._full(path), self._put_options)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"


def _plain(stored: IO[bytes], first: int, length: int | None) -> Iterator[bytes]:
    if first:
        stored.seek(first)
    while part := stored.read(_READ_BYTES if length is None else min(length, _READ_BYTES)):
        yield part
        length = None if length is None else length - len(part)
