"""``pipeline batches``: what waits for each step, the batches that stand still, and having one sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.batches.backlog import Backlog, Standing, backlog, count_standing, standing_batches
from pipeline.batches.progress import send_at_next_look
from pipeline.cli.common import AsJson, Source, Utc, Who, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, console, operator_name, print_heading, print_json
from pipeline.cli.tables import Table
from pipeline.database.audit import record_action

if TYPE_CHECKING:
    from pipeline.instants import Clock

app = typer.Typer(help="What waits, and the batches that stand still.", no_args_is_help=True)

SHOWN = 50
"""The most batches to list that stand still."""


@app.command("list")
def list_(source: Source = None, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show the records that wait for each step, and the batches that stand still. Exit code 1 while any does."""
    with database() as engine, engine.connect() as connection:
        waits = backlog(connection, source=source)
        standing = standing_batches(connection, limit=SHOWN, source=source)
        in_all = count_standing(connection, source=source)
    if as_json:
        print_json(
            {
                "waiting": waits.records,
                "steps": [each._asdict() for each in waits.steps],
                "standing": [each._asdict() for each in standing],
                "standing_in_all": in_all,
            }
        )
    else:
        _show(waits, standing, in_all, clock(utc=utc))
    if standing:
        raise typer.Exit(FOUND)


@app.command()
def send(
    batch: Annotated[int, typer.Argument(help="Its number, as `pipeline batches list` shows it.", min=1)],
    who: Who = None,
) -> None:
    """Have a batch that stands still sent again at once. Exit code 1 when no batch of this number is unfinished."""
    with database() as engine, engine.begin() as connection:
        if not send_at_next_look(connection, batch):
            complain(f"there is no unfinished batch {batch}", "It has gone on by itself, or was never there.")
            raise typer.Exit(FOUND)
        record_action(connection, who or operator_name(), "batch sent again", {"batch_id": batch})
    console.print(f"Batch {batch} is sent again within seconds, if beat and a worker run.", highlight=False)


def _show(waits: Backlog, standing: list[Standing], in_all: int, times: Clock) -> None:
    noun = "record waits" if waits.records == 1 else "records wait"
    console.print(f"{waits.records:,} {noun}.", highlight=False)
    if waits.steps:
        table = Table("step", "records", "batches", "oldest")
        for each in waits.steps:
            table.add_row(each.step, each.records, each.batches, times.show(each.oldest_at))
        console.print(table)
    if standing:
        print_heading("Batches that stand still")
        table = Table("batch", "source", "step", "records", "resends", "next")
        for batch in standing:
            table.add_row(
                str(batch.batch_id), batch.source, batch.step, batch.records, batch.resends, times.show(batch.due_at)
            )
        console.print(table)
        if in_all > len(standing):
            console.print(f"and {in_all - len(standing):,} more", highlight=False)
        console.print(
            "Their tasks fail as a whole, or nobody reads their queue: Flower's tab Pipeline shows the error, if it "
            "heard of one. When the cause is gone: pipeline batches send BATCH",
            highlight=False,
        )
