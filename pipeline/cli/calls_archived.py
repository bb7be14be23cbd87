"""What ``pipeline calls`` says of days of which calls are in the archive alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.archive.rules.places import Place
from pipeline.cli.output import as_text, errors
from pipeline.cli.tables import counted
from pipeline.lookup.archived import only_archived
from pipeline.lookup.rules.call_filter import CallFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from pipeline.lookup.archived import OnlyArchived

MONTHS_SAID: Final = 5


def sentences(found: Sequence[OnlyArchived]) -> Iterator[str]:
    """A sentence a month."""
    for each in found[:MONTHS_SAID]:
        calls, place = counted(each.calls, "call"), Place(each.source, each.month)
        days = f"{each.first_day}" if each.days == 1 else f"{each.first_day} to {each.last_day}"
        yield (
            f"Not all of {days} is in the database any more: {calls} of {place.source} are archived in {place.folder}. "
            f"`pipeline archive restore {each.month} --source {each.source}` brings them back."
        )
    if len(found) > MONTHS_SAID:
        yield f"The same goes for {counted(len(found) - MONTHS_SAID, 'older month')}: `pipeline archive list` has all."


def say_missing(connection: Connection, since: datetime | None, until: datetime | None, source: str | None) -> None:
    """Say on standard error what a report cannot count, for only the archive has it.

    Args:
        connection: the database.
        since: the report's first instant.
        until: the one behind its last.
        source: its dialler; None: all.
    """
    for sentence in sentences(only_archived(connection, CallFilter(since=since, until=until, source=source))):
        errors.print(as_text(sentence))


def as_json(found: Sequence[OnlyArchived]) -> list[dict[str, Any]]:
    """The same for scripts."""
    return [each._asdict() | {"folder": Place(each.source, each.month).folder} for each in found]
