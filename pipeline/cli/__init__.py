"""The ``pipeline`` command, one module a command or group."""

from __future__ import annotations

import typer

from pipeline.cli import balance, database, explain, ingest, tariffs
from pipeline.cli.quote import quote

app = typer.Typer(
    name="pipeline",
    help="From an Enigma dialler's CDR list to classified calls, recordings and a ledger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("ingest")(ingest.ingest)
app.command("explain")(explain.explain)
app.command("balance")(balance.balance)
app.command("quote")(quote)
app.command("release")(database.release)
app.add_typer(database.app, name="db")
app.add_typer(tariffs.app, name="tariff")
