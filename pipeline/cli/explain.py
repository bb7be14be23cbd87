"""``pipeline explain``: everything about one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from pipeline.cli.common import database
from pipeline.cli.explained import parts_of
from pipeline.cli.history import as_dict
from pipeline.cli.output import Table, complain, console, print_heading, print_json
from pipeline.logs.rules.visible import visible
from pipeline.lookup.history import history_of, sources_of
from pipeline.lookup.no_such_call import SHOWN, calls_of_contact, records_set_aside
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.lookup.history import History


def explain(
    call_ref: Annotated[str, typer.Argument(help="The dialler's internal call reference.")],
    source: Annotated[str | None, typer.Option(help="The dialler; needed when two have this reference.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show what a call came to, then what it was, its charges, its recording and its history.

    Times are those of PIPELINE_TIMEZONE. Exit code 1 when there is no such call: then what else the reference is.
    """
    with database() as engine, engine.connect() as connection:
        sources = sources_of(connection, call_ref)
        ours = sources if source is None else [each for each in sources if each == source]
        if not ours:
            _no_such_call(connection, call_ref, source, sources)
        if len(ours) > 1:
            complain(
                f"{len(ours)} diallers have a call {call_ref}",
                visible(f"Add --source, one of: {', '.join(ours)}"),
            )
            raise typer.Exit(1)
        history = history_of(connection, call_ref, ours[0])
    if as_json:
        print_json(as_dict(history))
    else:
        _show(history)


def _no_such_call(connection: Connection, call_ref: str, source: str | None, others: list[str]) -> None:
    what = f"no call{f' of {source}' if source is not None else ''} has the reference {call_ref}"
    hints = list(_set_aside(connection, call_ref, source))
    if others:
        hints.append(f"{', '.join(others)} {'has one' if len(others) == 1 else 'have one'}: see --source.")
    elif not hints and (found := calls_of_contact(connection, call_ref, source)):
        what += "; it is a contact_ref"
        refs = ", ".join(each.call_ref for each in found[:SHOWN])
        hints.append(f"Calls of that contact, the newest first: {refs}{' and others' if len(found) > SHOWN else ''}")
    complain(what, "\n".join(map(visible, hints)))
    raise typer.Exit(1)


def _set_aside(connection: Connection, call_ref: str, source: str | None) -> Iterator[str]:
    """What became of records that call themselves so, and the command that shows more."""
    found = records_set_aside(connection, call_ref, source)
    if not found:
        return
    yield "A record of it is set aside:" if len(found) == 1 else "Records of it are set aside:"
    for each in found[:SHOWN]:
        yield f"  failure {each.id}, {each.failure_class}, {each.state}: {each.reason}"
    yield f"Look at it: pipeline failures show {found[0].id}"
    yield f"All there are: pipeline failures list --call-ref {call_ref} --state any"


def _show(history: History) -> None:
    for part in parts_of(history, ZoneInfo(current_settings().pipeline_timezone)):
        print_heading(part.title)
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for label, said in part.facts:
            table.add_row(label, said)
        console.print(table, highlight=False)
