"""Recordings, their queues and pauses as a person reads them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.cli.output import as_text, console
from pipeline.cli.tables import Table, counted

if TYPE_CHECKING:
    from pipeline.instants import Clock
    from pipeline.recordings.listing import Queue
    from pipeline.recordings.pauses import Pause
    from pipeline.recordings.rules.row import Recording


def show_queues(queues: list[Queue]) -> None:
    """How many recordings are where, a line a dialler, and what waits for somebody."""
    if not queues:
        console.print("No call had a recording yet.")
        return
    shown = ("scheduled", "due", "in_flight", "stored", "absent", "expired", "failed", "held", "deleted", "differing")
    table = Table("source", *(name.replace("_", " ") for name in shown), "MB")
    for row in queues:
        megabytes = Decimal(row.stored_bytes).scaleb(-6).quantize(Decimal("0.001"))
        table.add_row(row.source, *(getattr(row, name) for name in shown), megabytes)
    console.print(table)
    for row in queues:
        if row.not_begun:
            not_begun = as_text(
                f"{counted(row.not_begun, 'message')} of {row.source} sent more than once and not begun:", "yellow"
            )
            advice = as_text(f" is a recordings worker with ENIGMA_SOURCE={row.source} running?")
            console.print(Text.assemble(not_begun, advice))
        if row.undeleted:
            past = "is past its retention" if row.undeleted == 1 else "are past their retention"
            undeleted = f"{counted(row.undeleted, 'recording')} of {row.source} {past} and could not be deleted:"
            console.print(Text.assemble(as_text(undeleted, "yellow"), " pipeline recordings list --undeleted"))


def show_pause(pause: Pause, times: Clock) -> None:
    """A standing pause: its cause, when it is tried to end it, and how to end it at once."""
    paused = as_text(f"{pause.source} is paused", "bold red")
    console.print(Text.assemble(paused, as_text(f" since {times.show(pause.since)}: {pause.reason}")))
    tried = f"{counted(pause.failed_probes, 'try', 'tries')} in vain; " if pause.failed_probes else ""
    console.print(
        f"  {tried}one recording is tried at {times.show(pause.until)}, or at once after: pipeline recordings resume",
        highlight=False,
    )


def state_of(row: Recording) -> str:
    """A recording's state, and whether its file is deleted or held."""
    marks = [mark for name, mark in (("deleted_at", "deleted"), ("held_at", "held")) if getattr(row, name) is not None]
    return ", ".join([row.state, *marks])


def remark_on(row: Recording) -> str:
    """What there is to say of a recording: what is wrong with its file, or why there is none."""
    known = row.verify_problem or row.deleted_reason or row.delete_problem
    return known or (None if row.state == "stored" else row.reason) or ""
