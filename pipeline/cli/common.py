"""What several commands do alike: open the database, read a file, read an instant."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from pipeline.cli.output import complain
from pipeline.database.engine import make_engine
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from sqlalchemy import Engine


def instant(text: str, zone: ZoneInfo, option: str = "--at") -> datetime:
    """An instant as an option gives it, in the zone where it has no offset of its own.

    Raises:
        BadParameter: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
        return (at if at.utcoffset() is not None else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"must be a date or a time such as 2026-07-01T08:00, got {text!r}", param_hint=f"'{option}'"
        ) from None


def read_file(file: Path) -> bytes:
    """A file's bytes; ends the command when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        complain(f"cannot read {file}: {error.strerror}")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def database(application: str = "cdr-cli") -> Iterator[Engine]:
    """The database, for as long as a command needs it.

    Args:
        application: what the server's list of sessions calls it.
    """
    engine = make_engine(current_settings().database_url, application=application, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()
