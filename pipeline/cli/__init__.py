"""The ``pipeline`` command, one module a command or group."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.cli import (
    api,
    archive,
    balance,
    batches,
    calls,
    completeness,
    contact,
    database,
    doctor,
    explain,
    failures,
    import_,
    ingest,
    keeping,
    provider,
    ranges,
    reconcile,
    recordings,
    report,
    stops,
    subject,
    subscriber,
    tariffs,
    token,
)
from pipeline.cli.health import health
from pipeline.cli.quote import quote
from pipeline.cli.rerate import rerate

if TYPE_CHECKING:
    from collections.abc import Iterator


_TIDIED: Final = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "must be a number",
}
"""What typer says of a wrong value, and how a person says it."""


class _Command(TyperCommand):
    """A command whose help shows a flag as a flag, and not as one that takes a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; what is wrong with it is said in this project's words."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            for theirs, ours in _TIDIED.items():
                error.message = error.message.replace(theirs, ours)
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, the one for help included."""
        return _flags_bare(super().get_params(ctx))


class _Group(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, the one for help included."""
        return _flags_bare(super().get_params(ctx))


def _flags_bare(params: list[Any]) -> list[Any]:
    for each in params:
        if getattr(each, "is_flag", False):
            each.metavar = ""
    return params


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        print(f"enigma-cdr-pipeline {importlib.metadata.version('enigma-cdr-pipeline')}")  # noqa: T201
        raise typer.Exit


app = typer.Typer(
    name="pipeline",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _pipeline(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """From an Enigma dialler's CDR list to classified calls, recordings and a ledger."""


app.command("api")(api.api)
app.command("ingest")(ingest.ingest)
app.command("import")(import_.import_)
app.command("doctor")(doctor.doctor)
app.command("calls")(calls.calls)
app.command("explain")(explain.explain)
app.command("contact")(contact.contact)
app.command("balance")(balance.balance)
app.command("quote")(quote)
app.command("rerate")(rerate)
app.command("health")(health)
app.command("release")(database.release)
app.add_typer(archive.app, name="archive")
app.add_typer(ranges.app, name="ranges")
app.add_typer(batches.app, name="batches")
app.add_typer(contact.app, name="contacts")
app.add_typer(completeness.app, name="completeness")
app.add_typer(database.app, name="db")
app.add_typer(failures.app, name="failures")
app.add_typer(keeping.app, name="keeping")
app.add_typer(provider.app, name="provider")
app.add_typer(reconcile.app, name="reconcile")
app.add_typer(recordings.app, name="recordings")
app.add_typer(report.app, name="report")
app.add_typer(stops.app, name="stops")
app.add_typer(subject.app, name="subject")
app.add_typer(subscriber.app, name="subscriber")
app.add_typer(tariffs.app, name="tariff")
app.add_typer(token.app, name="token")


def _groups(group: typer.Typer) -> Iterator[typer.Typer]:
    yield group
    for each in group.registered_groups:
        if each.typer_instance is not None:
            yield from _groups(each.typer_instance)


for _each in _groups(app):
    _each.info.cls = _Group
    for _command in _each.registered_commands:
        _command.cls = _Command
