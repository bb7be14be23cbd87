"""A complete file under its final name, in one step that cannot overwrite: a link, or a put that can be refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fsspec import AbstractFileSystem

# What their put_file is told: refuse to overwrite, and keep no more than two chunks in memory. Other kinds of
# store cannot publish in one step, or have not been tried.
PUT_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "file": {},
    "s3": {"mode": "create", "chunksize": 8 * 1024 * 1024},
    "gs": {"mode": "create", "chunksize": 8 * 1024 * 1024},
    "memory": {"mode": "create"},
}


def link(partial: Path, final: Path) -> bool:
    """Link a file of the same file system to its final name, durably.

    Returns:
        False when the name is taken; what is there stays.

    Raises:
        OSError: it cannot be linked.
    """
    _make_folders(final.parent)
    try:
        os.link(partial, final)
    except FileExistsError:
        return False
    sync_folder(final.parent)
    return True


def put(files: AbstractFileSystem, partial: Path, final: str, options: Mapping[str, Any]) -> bool:
    """Put a local file into an object store.

    Args:
        files: the store, as fsspec has it.
        partial: the file.
        final: its name there.
        options: the store's own of `PUT_OPTIONS`.

    Returns:
        False when the name is taken; what is there stays.

    Raises:
        Exception: whatever the store's library has for a put that failed.
    """
    if files.exists(final):
        return False
    try:
        files.put_file(str(partial), final, **options)
    except Exception:
        # Each library has its own error for a put that was refused because another was faster.
        if files.exists(final):
            return False
        raise
    return True


def _make_folders(folder: Path) -> None:
    """Create a folder and what is missing above it, durably: its name in its parent is on the disk, too."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(mode=0o750, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk itself.

    Raises:
        OSError: it cannot be done.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
