"""What ``pipeline explain`` says of the archive: where a call is archived, or what stands there of one that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.archive.rules.places import Place
from pipeline.cli import progress as bars
from pipeline.cli.archive_store import archive_if_on
from pipeline.cli.output import as_text, console, errors, print_heading, print_json
from pipeline.cli.tables import Table
from pipeline.errors import PipelineError
from pipeline.lookup.archived import archived_in

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.archive.find import Found
    from pipeline.instants import Clock

_LISTS: Final = ("lines", "uncharged", "duplicates")


def archived(connection: Connection, call_id: int, source: str) -> dict[str, Any] | None:
    """Where a call that is in the database is archived, too; None: nowhere yet.

    Args:
        connection: the database.
        call_id: the call's id.
        source: its dialler.
    """
    found = archived_in(connection, call_id)
    if found is None:
        return None
    return {"file": f"{Place(source, found.month).folder}/{found.part}", "written_at": found.written_at}


def show_archived(where: dict[str, Any] | None, times: Clock) -> None:
    """Say so."""
    if where is not None:
        print_heading("Archive")
        console.print(as_text(f"archived in {where['file']}, written at {times.show(where['written_at'])}"))


def explain_from_archive(
    connection: Connection, call_ref: str, source: str | None, times: Clock, *, as_json: bool
) -> bool:
    """Tell of a call that only the archive has; whether there is one.

    Args:
        connection: the database, which knows where to look.
        call_ref: the dialler's internal call reference.
        source: one dialler; None all.
        times: how times are shown.
        as_json: for scripts.
    """
    from pipeline.archive.find import find_calls, parts_to_look_in  # noqa: PLC0415 - as the store is

    parts = parts_to_look_in(connection, source)
    if not parts:
        return False
    try:
        store = archive_if_on()
        if store is None:
            errors.print(
                f"It may be archived: {len(parts)} days are, of which the database has not every call any more."
            )
            errors.print("Set ARCHIVE_URL to have it looked for there.")
            return False
        with bars.of_things("Looking in the archive", "parts", shown=not as_json) as progress:
            found = list(find_calls(store, parts, call_ref, progress=progress))
    except PipelineError as error:
        errors.print(as_text(f"It was looked for in the archive in vain: {error}"))
        return False
    if as_json and found:
        print_json({"archived": [_as_json(each) for each in found]})
    elif found:
        for each in found:
            _show(each, times)
    return bool(found)


def _as_json(found: Found) -> dict[str, Any]:
    part = found.part
    return {"file": f"{part.place.folder}/{part.name}", "written_at": part.written_at, "call": found.call}


def _show(found: Found, times: Clock) -> None:
    part = found.part
    print_heading(f"Call {found.call['call_ref']} of {part.source}, in the archive alone")
    table = Table("", "", show_header=False)
    table.add_row("archived", f"in {part.place.folder}/{part.name}, written at {times.show(part.written_at)}")
    table.add_row("restore", f"pipeline archive restore {part.month} --source {part.source}")
    for name, value in found.call.items():
        if name in _LISTS:
            for each in value:
                table.add_row(name, _in_a_line(each, times))
        elif isinstance(value, dict):
            table.add_row(name, _in_a_line(value, times))
        elif value is not None:
            table.add_row(name, _shown(value, times))
    console.print(table)


def _in_a_line(values: dict[str, Any], times: Clock) -> str:
    return ", ".join(f"{name} {_shown(value, times)}" for name, value in values.items() if value is not None)


def _shown(value: Any, times: Clock) -> str:
    if hasattr(value, "astimezone"):
        return times.show(value)
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
