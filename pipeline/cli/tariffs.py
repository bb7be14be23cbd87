"""``pipeline tariff``: what calls cost."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from pipeline.cli.output import complain, console, print_json
from pipeline.domain.rating import Rounding
from pipeline.domain.tariff_file import COLUMNS, REQUIRED, TariffFileError
from pipeline.settings import current_settings
from pipeline.steps.tariffs import MOST_DECIMALS, export_tariff, load_tariff
from pipeline.storage.database import make_engine
from pipeline.storage.tariffs import DEFAULT_TARIFF, list_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from pipeline.domain.tariff_file import BadLine
    from pipeline.steps.tariffs import TariffLoaded
    from pipeline.storage.tariffs import ListedVersion

app = typer.Typer(help="What calls cost.", no_args_is_help=True)

_OPTIONAL = ", ".join(COLUMNS[len(REQUIRED) :])

BAD_LINES_SHOWN = 1_000
"""As many as a person will read; `--json` has them all."""


@app.command(
    "load",
    help=f"""Make a CSV file the newest version of a tariff: all of it, or nothing when a line is bad.

    The first line names the columns: {" and ".join(REQUIRED)}, and any of {_OPTIONAL}.
    An empty prefix is the default rate. valid_to is the first instant that is no longer valid.

    Failures that waited for a rate are then tried again. The same file twice makes no second version.""",
)
def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8; delimited by comma, semicolon or tab.")],
    tariff: Annotated[str, typer.Option(help="The tariff it becomes a version of.")] = DEFAULT_TARIFF,
    rounding: Annotated[Rounding, typer.Option(help="Which way the last digit of an amount goes.")] = Rounding.HALF_UP,
    decimals: Annotated[
        int | None,
        typer.Option(min=0, max=MOST_DECIMALS, help="Of an amount; left out, those of the currency."),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    settings = current_settings()
    try:
        content = file.read_bytes()
    except OSError as error:
        complain(f"cannot read {file}: {error.strerror}")
        raise typer.Exit(1) from None
    try:
        with database() as engine:
            loaded = load_tariff(
                engine,
                content,
                file_name=file.name,
                tariff=tariff,
                loaded_by=_whoami(),
                default_currency=settings.pipeline_currency,
                timezone=settings.pipeline_timezone,
                rounding=rounding,
                decimals=decimals,
                dry_run=dry_run,
            )
    except TariffFileError as error:
        if as_json:
            print_json({"bad_lines": [line._asdict() for line in error.bad_lines]})
        else:
            _show_bad_lines(error.bad_lines)
        count = len(error.bad_lines)
        complain(f"{file} has {count} mistake{'' if count == 1 else 's'}; nothing was loaded")
        raise typer.Exit(1) from None
    if as_json:
        print_json(loaded._asdict())
    else:
        _show_loaded(loaded)


@app.command("list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """List the tariffs and their versions."""
    with database() as engine, engine.connect() as connection:
        listed = list_versions(connection)
    if as_json:
        print_json([_plain(one) for one in listed])
        return
    if not listed:
        console.print("No tariff was loaded yet. Load one with: pipeline tariff load FILE", highlight=False)
        return
    zone = ZoneInfo(current_settings().pipeline_timezone)
    table = Table(box=None, pad_edge=False)
    for name in ("tariff", "version", "", "rates", "currency", "rounding", "file", "loaded"):
        table.add_column(name, justify="right" if name in {"version", "rates"} else "left")
    for version, rates, in_force in listed:
        table.add_row(
            version.tariff,
            str(version.version),
            "in force" if in_force else "",
            f"{rates:,}",
            version.terms.currency,
            f"{version.terms.rounding}, {version.terms.decimals} decimals",
            Text(version.file_name),
            Text(f"{version.loaded_at.astimezone(zone):%Y-%m-%d %H:%M} by {version.loaded_by}"),
        )
    console.print(table, highlight=False)


@app.command("export")
def export(
    tariff: Annotated[str, typer.Argument(help="The tariff.")] = DEFAULT_TARIFF,
    version: Annotated[int | None, typer.Option(min=1, help="Left out, the newest.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Left out, standard output.")] = None,
) -> None:
    """Write a version as the CSV file that loads as the same rates again."""
    with database() as engine, engine.connect() as connection:
        lines = export_tariff(connection, tariff, version=version, timezone=current_settings().pipeline_timezone)
        if output is None:
            sys.stdout.writelines(lines)
            return
        try:
            with output.open("w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
        except OSError as error:
            complain(f"cannot write {output}: {error.strerror}")
            raise typer.Exit(1) from None


@contextlib.contextmanager
def database() -> Iterator[Engine]:
    """The database, for as long as a command needs it."""
    engine = make_engine(current_settings().database_url, application="cdr-cli", pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _whoami() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return f"uid {os.getuid()}"


def _show_bad_lines(bad_lines: tuple[BadLine, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("line", justify="right")
    table.add_column("column", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for line, column, reason in bad_lines[:BAD_LINES_SHOWN]:
        # Text, not markup: what the file says is shown as it is.
        table.add_row(str(line), Text(column or ""), Text(reason))
    console.print(table)
    if len(bad_lines) > BAD_LINES_SHOWN:
        console.print(f"… and {len(bad_lines) - BAD_LINES_SHOWN:,} more; --json lists all.", highlight=False)


def _show_loaded(loaded: TariffLoaded) -> None:
    verb = "would be loaded" if loaded.dry_run else "is loaded"
    if loaded.already_loaded:
        verb = "is loaded already"
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("tariff", loaded.tariff)
    table.add_row("version", f"{loaded.version} {verb}")
    table.add_row("rates", f"{loaded.rates:,}")
    table.add_row("currency", loaded.currency)
    if not loaded.dry_run:
        table.add_row("failures released", f"{loaded.retried:,}")
    console.print(table)


def _plain(listed: ListedVersion) -> dict[str, object]:
    version, rates, in_force = listed
    return {
        "tariff": version.tariff,
        "version": version.version,
        "in_force": in_force,
        "rates": rates,
        "currency": version.terms.currency,
        "rounding": version.terms.rounding.value,
        "decimals": version.terms.decimals,
        "billable_dispositions": sorted(version.terms.billable_dispositions),
        "file_name": version.file_name,
        "file_sha256": version.file_sha256,
        "loaded_by": version.loaded_by,
        "loaded_at": version.loaded_at,
    }
