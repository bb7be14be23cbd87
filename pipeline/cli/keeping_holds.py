"""``pipeline keeping hold|release|holds``: a call that must not go, whatever its age and whoever asks."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.common import AsJson, Utc, Who, clock, database, said
from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, console, operator_name, print_json, remark
from pipeline.cli.tables import Table, counted
from pipeline.keeping.held_where import all_held
from pipeline.keeping.holds import file_deleted_at, hold_call, release_call
from pipeline.keeping.one_call import one_call

CallRef = Annotated[str, typer.Argument(help="The dialler's internal call reference.")]
OneSource = Annotated[
    str | None, typer.Option("--source", help="The dialler; needed when two have this reference.", show_default=False)
]
BecauseNeeded = Annotated[str, typer.Option("--because", help="Why, for the record.")]


def hold(
    call_ref: CallRef, because: BecauseNeeded, source: OneSource = None, who: Who = None, *, utc: Utc = False
) -> None:
    """Hold a call: it is not erased, its recording not deleted, nothing dropped that it is in, until it is released.

    Numbers are held by `pipeline subject hold`, the file of one recording by `pipeline recordings hold`. Exit code 1
    when there is no such call.
    """
    why = said(because)
    with database() as engine, engine.begin() as connection:
        call = one_call(connection, call_ref, source)
        held = hold_call(connection, call.id, who=who or operator_name(), because=why)
        deleted_at = file_deleted_at(connection, call.id)
    console.print(f"Call {call.call_ref} of {call.source} is held{'' if held else ' already'}.", highlight=False)
    if deleted_at is not None:
        remark(f"The file of its recording was deleted before, at {clock(utc=utc).show(deleted_at)}.")


def release(call_ref: CallRef, because: BecauseNeeded, source: OneSource = None, who: Who = None) -> None:
    """End the hold on a call. Exit code 1 when there was none, or there is no such call."""
    why = said(because)
    with database() as engine, engine.begin() as connection:
        call = one_call(connection, call_ref, source)
        released = release_call(connection, call.id, who=who or operator_name(), because=why)
    if not released:
        complain(f"call {call.call_ref} of {call.source} is not held itself", "pipeline keeping holds shows what is.")
        raise typer.Exit(FOUND)
    console.print(f"Call {call.call_ref} of {call.source} is no longer held.", highlight=False)


def holds(*, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show all holds that stand: of numbers, of calls, and of recordings' files."""
    with database() as engine, engine.connect() as connection:
        found = all_held(connection)
    if as_json:
        print_json([each._asdict() for each in found])
        return
    times = clock(utc=utc)
    table = Table("what", "number", "dialler", "call_ref", "since", "by", "because")
    for each in found:
        of = (each.what, each.number, each.source, each.call_ref)
        table.add_row(*of, times.show(each.held_at), each.held_by, each.because)
    console.print(table)
    remark(f"{counted(len(found), 'hold')}.")
