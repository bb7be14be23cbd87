"""The keys that recordings are encrypted with: a file a dialler and month, apart from the recordings and the database.

A key is read anew for every recording, so that one which is destroyed is used by no process any more. What is left of
it is a mark that it was destroyed: nothing is encrypted for that month again, and whoever asks is told.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import fsspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.recordings.encryption import KEY_BITS
from pipeline.recordings.final_names import PUT_OPTIONS, link, sync_folder
from pipeline.recordings.rules.encrypted import CannotDecryptError, KeyName
from pipeline.recordings.rules.key_facts import KeysFacts
from pipeline.recordings.store_trouble import StoreError, secrets_of, trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY: Final = ".key"
DESTROYED: Final = ".destroyed"
_NEW: Final = ".new"
"""Behind a dot: a key on its way to its name, which a process left that was killed."""
_KEY_BYTES: Final = KEY_BITS // 8


class KeyDestroyedError(CannotDecryptError):
    """The key was destroyed on purpose."""


class KeyFile(NamedTuple):
    """A key as the folder has it; instants are aware."""

    month: str
    created_at: datetime | None
    """None: it is not there any more."""
    destroyed_at: datetime | None


class RecordingKeys:
    """The keys below one URL; for any number of threads, processes and machines.

    Args:
        url: ``file:///folder``, ``s3://bucket/folder``, ``gs://bucket/folder`` or, in tests, ``memory://folder``. A
            folder must be there: where nothing is mounted, none is made.
        storage_options: for fsspec: credentials, endpoint, server-side encryption.

    Raises:
        ValueError: the URL's kind cannot make a file once only.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        kind = urlsplit(url).scheme
        if kind not in PUT_OPTIONS:
            raise ValueError(f"keys must be below file://, s3:// or gs://, got {kind}://")
        options = dict(storage_options or {})
        self._secrets = secrets_of(url, options)
        with self._trouble("open"):
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        self._root = root.rstrip("/")
        self._local = kind == "file"

    def to_read(self, name: KeyName) -> bytes:
        """The key, 32 bytes.

        Raises:
            CannotDecryptError: it is not there, or was destroyed.
            StoreError: the folder cannot be read.
        """
        if (found := self._read(name)) is not None:
            return found
        if (at := self._destroyed_at(name)) is not None:
            raise KeyDestroyedError(f"{name} was destroyed at {at:%Y-%m-%d %H:%M} UTC")
        raise CannotDecryptError(f"{name} is not there")

    def to_write(self, name: KeyName, *, needed: str | None = None) -> bytes:
        """The key, made if this is the first recording of its month; of two that make it, both have the same.

        Args:
            name: which.
            needed: a month of the same dialler whose key must be there before another is made, for recordings are
                encrypted with it: where it is not, this is not the folder of keys.

        Raises:
            KeyDestroyedError: it was destroyed: nothing of that month is to be kept.
            StoreError: the folder cannot be read or written to, or is not the one.
        """
        self._refuse_destroyed(name)
        if (found := self._read(name)) is not None:
            return found
        if needed is not None:
            self._check_folder(KeyName(name.source, needed))
        with self._trouble("write to"):
            self._put(self._path(name, KEY), AESGCM.generate_key(KEY_BITS))
        try:
            self._refuse_destroyed(name)  # by somebody who did not see ours yet
        except KeyDestroyedError:
            self._remove(name)
            raise
        return self.to_read(name)

    def _check_folder(self, known: KeyName) -> None:
        if self._read(known) is None and self._destroyed_at(known) is None:
            raise StoreError(
                f"the folder of keys (RECORDINGS_KEYS_URL) has not {known}, by which recordings are encrypted: is it "
                "mounted, and is it the right one?"
            )

    def is_there(self, name: KeyName) -> bool:
        """Whether the folder has a key.

        Raises:
            StoreError: the folder cannot be read.
        """
        return self._read(name) is not None

    def of(self, source: str) -> list[KeyFile]:
        """The keys that a dialler has, or had, by month.

        Raises:
            StoreError: the folder cannot be read.
        """
        folder = f"{self._root}/{KeyName(source, '').text}".rstrip("/")
        with self._trouble("read"):
            self._check_root()
            try:
                listed = self._files.ls(folder, detail=False)
            except FileNotFoundError:
                listed = []
            names = {each.rstrip("/").rpartition("/")[2] for each in listed}
            return [
                KeyFile(
                    month,
                    self._files.modified(f"{folder}/{month}{KEY}") if f"{month}{KEY}" in names else None,
                    self._destroyed_at(KeyName(source, month)) if f"{month}{DESTROYED}" in names else None,
                )
                for month in sorted({name.partition(".")[0] for name in names} - {""})
            ]

    def destroy(self, name: KeyName) -> None:
        """Delete a key, and look again whether it is gone; to the same effect however often.

        Raises:
            StoreError: it cannot be deleted, or it cannot be shown that it is gone.
        """
        with self._trouble("write to"):
            self._put(self._path(name, DESTROYED), f"{datetime.now(tz=UTC).isoformat()}\n".encode())
        self._remove(name)
        if self._read(name) is not None:
            raise StoreError(f"{name} was deleted, and is there all the same")

    def look(self) -> KeysFacts:
        """What can be seen of the folder by this user; a file is made and deleted in it.

        Raises:
            StoreError: it cannot be read.
        """
        with self._trouble("read"):
            self._files.ls(self._root, detail=False)
        open_to_others = [] if not self._local else sorted(str(path) for path in self._paths() if _is_open(path))
        trial = f"{self._root}/.trial-{uuid.uuid4()}"
        try:
            with self._trouble("write to"):
                self._put(trial, b"pipeline doctor")
                self._files.rm_file(trial)
        except StoreError as error:
            return KeysFacts(str(error), tuple(open_to_others))
        return KeysFacts(None, tuple(open_to_others))

    def _paths(self) -> Iterator[Path]:
        yield Path(self._root)
        yield from Path(self._root).glob(f"*/*{KEY}")

    def _read(self, name: KeyName) -> bytes | None:
        found = self._content(self._path(name, KEY))
        if found is not None and len(found) != _KEY_BYTES:
            raise StoreError(
                f"{name} has {len(found)} bytes, and must have {_KEY_BYTES}: bring it back from its backup"
            )
        return found

    def _content(self, path: str) -> bytes | None:
        with self._trouble("read"):
            self._check_root()
            try:
                return bytes(self._files.cat_file(path))
            except (FileNotFoundError, IsADirectoryError):
                return None

    def _check_root(self) -> None:
        if self._local and not Path(self._root).is_dir():
            raise FileNotFoundError(2, "No such folder: make it, and let only the pipeline's user in")

    def _destroyed_at(self, name: KeyName) -> datetime | None:
        said = self._content(self._path(name, DESTROYED))
        if said is None:
            return None
        try:
            return datetime.fromisoformat(said.decode().strip())
        except ValueError:
            return datetime.min.replace(tzinfo=UTC)

    def _refuse_destroyed(self, name: KeyName) -> None:
        if self._destroyed_at(name) is not None:
            raise KeyDestroyedError(f"{name} was destroyed: no recording of that month is kept any more")

    def _put(self, path: str, content: bytes) -> None:
        """Make a file in one step, unless there is one."""
        if self._local:
            _put_local(Path(path), content)
            return
        if self._files.exists(path):
            return
        try:
            self._files.pipe_file(path, content, mode="create")
        except Exception:
            # Each library has its own error for a put that was refused because another was faster.
            if not self._files.exists(path):
                raise

    def _remove(self, name: KeyName) -> None:
        path = self._path(name, KEY)
        with self._trouble("delete from"):
            if not self._local:
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(path)
                return
            key = Path(path)
            # A process that was killed while it made the key has left a second name of it.
            for each in (key, *key.parent.glob(f".{name.month}-*{_NEW}")):
                each.unlink(missing_ok=True)
            sync_folder(key.parent)

    def _path(self, name: KeyName, ending: str) -> str:
        return f"{self._root}/{name.text}{ending}"

    @contextlib.contextmanager
    def _trouble(self, doing: str) -> Iterator[None]:
        try:
            with trouble(doing, self._secrets):
                yield
        except StoreError as error:
            raise StoreError(f"the folder of keys (RECORDINGS_KEYS_URL): {error}") from None


def _put_local(path: Path, content: bytes) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent.parent)
    new = path.with_name(f".{path.name.partition('.')[0]}-{uuid.uuid4()}{_NEW}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        link(new, path)
    finally:
        new.unlink(missing_ok=True)


def _is_open(path: Path) -> bool:
    """Whether everybody of this machine may read it."""
    return bool(path.stat().st_mode & stat.S_IRWXO)
