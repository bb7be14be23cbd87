"""``pipeline token``: who may ask the HTTP API, and for what."""

from __future__ import annotations

import contextlib
from datetime import datetime  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.access import tokens
from pipeline.access.rules.scopes import SAYS
from pipeline.cli.common import AsJson, Because, FormatOption, Utc, Who, chosen, clock, database, time_option
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, errors, operator_name, print_json, print_rows
from pipeline.cli.tables import Format, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(help="Who may ask the HTTP API, and for what.", no_args_is_help=True)

SCOPES = "; ".join(f"{scope}: {says}" for scope, says in SAYS.items())


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: small letters, digits, - and _; never used again.")],
    scope: Annotated[list[str], typer.Option(help=f"What it allows; repeat for more. {SCOPES}.")] = [],  # noqa: B006
    source: Annotated[list[str], typer.Option(help="Diallers, or * for all; repeat for more.")] = [],  # noqa: B006
    campaign: Annotated[list[str], typer.Option(help="Campaigns, or * for all; repeat for more.")] = [],  # noqa: B006
    expires: Annotated[datetime | None, time_option("It lets nobody in from this time on.")] = None,
    who: Who = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, this once. It allows nothing, and nothing of what, that is not named."""
    new = tokens.NewToken(name, scope, source, campaign, expires)
    with _said(WRONG), database() as engine, engine.begin() as connection:
        token = tokens.create(connection, new, who=who or operator_name())
    if as_json:
        print_json({"name": name, "token": token})
        return
    print(token)  # noqa: T201 - as it is, whatever the width
    errors.print("It is shown this once: only its hash is kept. Send it as Authorization: Bearer …", highlight=False)


@app.command("list")
def list_(format_: FormatOption = Format.TABLE, *, utc: Utc = False, as_json: AsJson = False) -> None:
    """Show the tokens that there are and were, without the tokens themselves."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    with database() as engine, engine.connect() as connection:
        found = tokens.all_tokens(connection)
    table = Table("name", "state", "created", "by", "expires", "revoked", "diallers", "campaigns", "scopes")
    for each in found:
        instants = (each.created_at, each.expires_at, each.revoked_at)
        created, expires, revoked = (times.show(at, seconds=False) for at in instants)
        lists = (", ".join(named) for named in (each.sources, each.campaigns, each.scopes))
        table.add_row(each.name, each.state, created, each.created_by, expires, revoked, *lists)
    print_rows(table, format_, [each._asdict() for each in found])


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The token's name.")], because: Because = None, who: Who = None
) -> None:
    """Have a token let nobody in any more, from the next request on. Exit code 1 when there is none to revoke."""
    with _said(FOUND), database() as engine, engine.begin() as connection:
        tokens.revoke(connection, name, who=who or operator_name(), reason=because)
    console.print(f"Token {name} lets nobody in any more.", highlight=False)


@contextlib.contextmanager
def _said(code: int) -> Iterator[None]:
    """What is wrong with what was asked for is a sentence."""
    try:
        yield
    except tokens.TokenError as error:
        complain(str(error))
        raise typer.Exit(code) from None
