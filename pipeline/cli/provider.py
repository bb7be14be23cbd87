"""``pipeline provider``: the provider's side of the account."""

from __future__ import annotations

import typer

from pipeline.cli import provider_ports
from pipeline.cli.provider_files import load, preview
from pipeline.cli.provider_loaded import files, lines_, withdraw

app = typer.Typer(help="The provider's side: its files, and numbers ported between networks.", no_args_is_help=True)
app.command("load")(load)
app.command("preview")(preview)
app.command("files")(files)
app.command("lines")(lines_)
app.command("withdraw")(withdraw)
app.add_typer(provider_ports.app, name="ports")
