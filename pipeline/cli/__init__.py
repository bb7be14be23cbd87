"""The ``pipeline`` command, one module a command or group."""

from __future__ import annotations

import typer

from pipeline.cli import (
    balance,
    batches,
    database,
    doctor,
    explain,
    failures,
    ingest,
    recordings,
    report,
    stops,
    tariffs,
)
from pipeline.cli.health import health
from pipeline.cli.quote import quote
from pipeline.cli.rerate import rerate

app = typer.Typer(
    name="pipeline",
    help="From an Enigma dialler's CDR list to classified calls, recordings and a ledger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("ingest")(ingest.ingest)
app.command("doctor")(doctor.doctor)
app.command("explain")(explain.explain)
app.command("balance")(balance.balance)
app.command("quote")(quote)
app.command("rerate")(rerate)
app.command("health")(health)
app.command("release")(database.release)
app.add_typer(batches.app, name="batches")
app.add_typer(database.app, name="db")
app.add_typer(failures.app, name="failures")
app.add_typer(recordings.app, name="recordings")
app.add_typer(report.app, name="report")
app.add_typer(stops.app, name="stops")
app.add_typer(tariffs.app, name="tariff")
