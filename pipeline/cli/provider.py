"""``pipeline provider``: the provider's side."""

from __future__ import annotations

import typer

app = typer.Typer(help="The provider's side: its files, and numbers ported between networks.", no_args_is_help=True)
