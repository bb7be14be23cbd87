"""The archive that this environment names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pipeline.cli.exits import WRONG
from pipeline.cli.output import complain
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.archive.store import ArchiveStore


def archive_store() -> ArchiveStore:
    """The store; ends the command when ARCHIVE_URL names none, or the library is not installed."""
    found = archive_if_on()
    if found is None:
        complain("the archive is off: ARCHIVE_URL is not set", "Set it to a URL such as file:///srv/archive.")
        raise typer.Exit(WRONG)
    return found


def archive_if_on() -> ArchiveStore | None:
    """The store; None: there is none. fsspec and pyarrow load slowly, and no other command needs them."""
    from pipeline.archive.arrow import arrow  # noqa: PLC0415
    from pipeline.archive.store import ArchiveStore  # noqa: PLC0415

    settings = current_settings()
    if not settings.archive_url:
        return None
    arrow()
    return ArchiveStore(settings.archive_url, settings.archive_storage_options)
