"""``pipeline stops``: why an ingestor claims nothing, and letting it go on."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.common import AsJson, FormatOption, Utc, Who, chosen, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, complain, console, operator_name, print_rows
from pipeline.cli.tables import Format, Table
from pipeline.database.audit import record_action
from pipeline.ingest.stops import all_stops, release_stop
from pipeline.settings import current_settings

app = typer.Typer(help="Why an ingestor claims nothing, and letting it go on.", no_args_is_help=True)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show what stopped ingestors. Exit code 1 while any is stopped."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        stops = all_stops(connection)
    table = Table("source", "kind", "stopped", "released", "by", "reason")
    for stop in stops:
        released = times.show(stop.released_at) or as_text("still stopped", "red")
        table.add_row(stop.source, stop.kind, times.show(stop.stopped_at), released, stop.released_by, stop.reason)
    print_rows(table, format_, [stop._asdict() for stop in stops])
    if any(stop.released_at is None for stop in stops):
        raise typer.Exit(FOUND)


@app.command()
def release(
    source: Annotated[str | None, typer.Option(help="The dialler; ENIGMA_SOURCE by default.")] = None,
    who: Who = None,
) -> None:
    """Let a stopped ingestor go on, once you know that its list is the right one. Exit code 1 when none was stopped."""
    source = source or current_settings().enigma_source
    who = who or operator_name()
    with database() as engine, engine.begin() as connection:
        stop = release_stop(connection, source, who)
        if stop is None:
            complain(f"the ingestor of {source} is not stopped")
            raise typer.Exit(FOUND)
        record_action(connection, who, "release a stop", {"source": source, "kind": stop.kind, "reason": stop.reason})
    console.print(f"The ingestor of {source} goes on.", highlight=False)
