"""``pipeline explain``: everything about one call."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import database
from pipeline.cli.history import as_dict, events
from pipeline.cli.output import Table, complain, console, plain, print_heading, print_json
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.lookup.history import history_of, sources_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.lookup.history import History


def explain(
    call_ref: Annotated[str, typer.Argument(help="The dialler's internal call reference.")],
    source: Annotated[str | None, typer.Option(help="The dialler; needed when two have this reference.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show a call, its disposition and why, its charges, its recording and its history."""
    with database() as engine, engine.connect() as connection:
        sources = sources_of(connection, call_ref)
        if source is not None:
            sources = [each for each in sources if each == source]
        if not sources:
            where = f" of {source}" if source is not None else ""
            set_aside = count_failures(connection, FailureFilter(call_ref=call_ref, source=source))
            hint = f"A record of it is set aside: pipeline failures list --call-ref {call_ref}" if set_aside else ""
            complain(f"no call{where} has the reference {call_ref}", hint)
            raise typer.Exit(1)
        if len(sources) > 1:
            complain(
                f"{len(sources)} diallers have a call {call_ref}",
                f"Add --source, one of: {', '.join(sources)}",
            )
            raise typer.Exit(1)
        history = history_of(connection, call_ref, sources[0])
    if as_json:
        print_json(as_dict(history))
    else:
        _show(history)


def _show(history: History) -> None:
    _show_fields("Call", history.call._asdict())
    _show_fields("Disposition", history.disposition._asdict() if history.disposition else {"": "not classified yet"})
    for line in history.charges:
        _show_fields("Charge" if line.kind == "charge" else "Reversal", line._asdict())
    if history.recording is not None:
        _show_fields("Recording", asdict(history.recording))
    print_heading("History")
    table = Table(box=None, show_header=False, pad_edge=False)
    for each in events(history):
        table.add_row(f"{each.at:%Y-%m-%d %H:%M:%S.%f}", each.event, each.detail)
    console.print(table)


def _show_fields(title: str, fields: Mapping[str, Any]) -> None:
    print_heading(title)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in fields.items():
        if value is not None:
            table.add_row(name, str(_shown(value)))
    console.print(table)


def _shown(value: Any) -> Any:
    try:
        return plain(value)
    except TypeError:
        return value
