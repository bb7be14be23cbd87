"""``pipeline stops``: why an ingestor claims nothing, and letting it go on."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.common import database
from pipeline.cli.output import Table, as_text, complain, console, operator_name, print_json
from pipeline.database.audit import record_action
from pipeline.ingest.stops import all_stops, release_stop
from pipeline.settings import current_settings

app = typer.Typer(help="Why an ingestor claims nothing, and letting it go on.", no_args_is_help=True)


@app.command("list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Show what stopped ingestors. Exit code 1 while any is stopped."""
    with database() as engine, engine.connect() as connection:
        stops = all_stops(connection)
    if as_json:
        print_json([stop._asdict() for stop in stops])
    else:
        table = Table("source", "kind", "stopped (UTC)", "released (UTC)", "by", "reason", box=None)
        for stop in stops:
            released = f"{stop.released_at:%Y-%m-%d %H:%M:%S}" if stop.released_at else as_text("still stopped", "red")
            table.add_row(
                stop.source, stop.kind, f"{stop.stopped_at:%Y-%m-%d %H:%M:%S}", released, stop.released_by or "",
                stop.reason,
            )  # fmt: skip
        console.print(table)
    if any(stop.released_at is None for stop in stops):
        raise typer.Exit(1)


@app.command()
def release(
    source: Annotated[str | None, typer.Option(help="The dialler; ENIGMA_SOURCE by default.")] = None,
    who: Annotated[str | None, typer.Option(help="Who does it; the system's user by default.")] = None,
) -> None:
    """Let a stopped ingestor go on, once you know that its list is the right one. Exit code 1 when none was stopped."""
    source = source or current_settings().enigma_source
    who = who or operator_name()
    with database() as engine, engine.begin() as connection:
        stop = release_stop(connection, source, who)
        if stop is None:
            complain(f"the ingestor of {source} is not stopped")
            raise typer.Exit(1)
        record_action(connection, who, "release a stop", {"source": source, "kind": stop.kind, "reason": stop.reason})
    console.print(f"The ingestor of {source} goes on.", highlight=False)
