"""``pipeline explain``: everything about one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from pipeline.cli.common import AsJson, Utc, clock, database
from pipeline.cli.contact import explain_contact
from pipeline.cli.exits import FOUND
from pipeline.cli.explain_archived import archived, explain_from_archive, show_archived
from pipeline.cli.explain_missing import no_such_call
from pipeline.cli.explained import parts_of
from pipeline.cli.output import complain, console, print_heading, print_json
from pipeline.cli.tables import Table
from pipeline.logs.rules.visible import visible
from pipeline.lookup.history import history_of, providers_side_of, sources_of
from pipeline.lookup.told import as_dict, provider_as_dict
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from pipeline.instants import Clock
    from pipeline.lookup.rules.history import History, ProvidersSide


def explain(
    call_ref: Annotated[
        str | None, typer.Argument(help="The dialler's internal call reference.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="The dialler; needed when two have this reference.")] = None,
    contact: Annotated[
        str | None, typer.Option(help="The integrator's reference: all calls of that contact.", show_default=False)
    ] = None,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show what a call came to, then what it was, its charges, its recording and its history.

    A call that only the archive has is told from there. Exit code 1 when there is no such call: then what else the
    reference is. With --contact, show what a contact came to and why, each of its calls, and who called in from its
    numbers.
    """
    if (call_ref is None) == (contact is None):
        raise typer.BadParameter("say which call, or with --contact which contact, and not both", param_hint="CALL_REF")
    if contact is not None:
        explain_contact(contact, source, utc=utc, as_json=as_json)
        return
    assert call_ref is not None
    with database() as engine, engine.connect() as connection:
        sources = sources_of(connection, call_ref)
        ours = sources if source is None else [each for each in sources if each == source]
        if not ours and explain_from_archive(connection, call_ref, source, clock(utc=utc), as_json=as_json):
            return
        if not ours:
            no_such_call(connection, call_ref, source, sources)
        if len(ours) > 1:
            complain(
                f"{len(ours)} diallers have a call {call_ref}",
                visible(f"Add --source, one of: {', '.join(ours)}"),
            )
            raise typer.Exit(FOUND)
        history = history_of(connection, call_ref, ours[0])
        provider = providers_side_of(connection, history.record_id)
        where = archived(connection, history.record_id, history.call.source)
    if as_json:
        print_json(as_dict(history) | {"provider": provider_as_dict(provider), "archived": where})
    else:
        _show(history, provider, clock(utc=utc))
        show_archived(where, clock(utc=utc))


def _page(history: History) -> str | None:
    """Where Flower shows the call, if a setting says where people reach Flower."""
    flower, call = current_settings().pipeline_flower_url, history.call
    return f"{flower}/calls/{quote(call.source, safe='')}/{quote(call.call_ref, safe='')}" if flower else None


def _show(history: History, provider: ProvidersSide, times: Clock) -> None:
    for part in parts_of(history, times, _page(history), provider):
        print_heading(part.title)
        table = Table(*[""] * len(part.facts[0]), show_header=False)
        for fact in part.facts:
            table.add_row(*fact)
        console.print(table)
