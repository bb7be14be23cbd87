"""What came of archiving, verifying and restoring, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.cli.output import complain, console, print_json, remark
from pipeline.cli.tables import Table, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pipeline.archive.restore import Restored
    from pipeline.archive.run import Done
    from pipeline.archive.verify import Verified


def show_done(done: Sequence[Done], *, as_json: bool, now: datetime) -> None:
    """What runs came to.

    Args:
        done: a month each.
        as_json: for scripts.
        now: the instant it is.
    """
    if as_json:
        print_json([_done(each) for each in done])
        return
    table = Table("source", "month", "written", "calls", "archived", "bytes", "complete_through")
    for each in done:
        if (manifest := each.manifest) is not None:
            size = sum(part.size_bytes for part in manifest.parts)
            through = manifest.complete_through
            figures = (counted(each.written, "day"), each.rows, manifest.sums.rows, size)
            table.add_row(*each.place, *figures, "" if through is None else f"{through:%Y-%m-%d %H:%M UTC}")
    console.print(table)
    for each in done:
        if each.manifest is None:
            remark(f"There are no calls of {each.place.said}.")
        elif each.place.until > now:
            remark(f"{each.place.said} is not over: calls that are still to come are not in it.")
    if not done:
        remark("There is no month to archive: none that is over has calls.")


def _done(done: Done) -> dict[str, Any]:
    manifest = None if done.manifest is None else msgspec.to_builtins(done.manifest)
    return {**done.place._asdict(), "written_days": done.written, "written_calls": done.rows, "manifest": manifest}


def show_verified(found: Sequence[Verified], *, as_json: bool) -> None:
    """What reading came to."""
    if as_json:
        print_json([each._asdict() | each.place._asdict() | {"place": each.place.folder} for each in found])
        return
    table = Table("source", "month", "parts", "calls", "as_in_database", "only_archived", "problems")
    for each in found:
        table.add_row(*each.place, each.parts, each.rows, each.compared, each.only_here, len(each.problems))
    console.print(table)
    for each in found:
        if each.problems:
            complain(f"{each.place.said} cannot be relied on as it stands", "\n".join(each.problems))


def show_restored(found: Restored, *, as_json: bool) -> None:
    """What restoring came to."""
    if as_json:
        print_json({**found.place._asdict(), "calls": found.calls, "inserted": found.inserted})
        return
    if not found.inserted:
        console.print(f"All {counted(found.calls, 'call')} of {found.place.said} are in the database.", highlight=False)
        return
    table = Table("table", "restored")
    for name, rows in found.inserted.items():
        table.add_row(name, rows)
    console.print(table)
