"""``pipeline provider load|preview``: the files that providers bill by."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.accounts.checked import Wanted
from pipeline.accounts.load import load_file
from pipeline.accounts.provider_file import ProviderFile
from pipeline.accounts.rules.entries import Totals
from pipeline.accounts.rules.figures import figure_reader
from pipeline.accounts.rules.mapping import MappingError
from pipeline.accounts.rules.mapping_file import check_name, read_mapping, zone_fault
from pipeline.billing.rules.months import month_in
from pipeline.cli import progress as bars
from pipeline.cli.common import AsJson, Who, database, read_file
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, operator_name, print_json, remark
from pipeline.cli.provider_files_shown import entry_as_dict, loaded_as_dict, preview_table, show_loaded
from pipeline.cli.tables import counted
from pipeline.errors import DataError
from pipeline.instants import Clock
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

    from pipeline.accounts.rules.entries import Entry
    from pipeline.accounts.rules.mapping import Mapping

_PREVIEWED: Final = 10

FilePath = Annotated[Path, typer.Argument(help="The provider's file.")]
MappingPath = Annotated[
    Path, typer.Option("--mapping", help="A TOML file: which column is what, and how it is written.")
]
Zone = Annotated[
    str | None,
    typer.Option(help="Of the file's times and its month; the mapping's when left out, else ours.", show_default=False),
]


def load(  # long: an option a line
    file: FilePath,
    mapping: MappingPath,
    provider: Annotated[str, typer.Option(help="Whose file it is.")],
    period: Annotated[str | None, typer.Option(help="The month it is of, such as 2026-11.", show_default=False)] = None,
    zone: Zone = None,
    lines: Annotated[int | None, typer.Option(min=0, help="How many calls it should have.", show_default=False)] = None,
    seconds: Annotated[
        int | None, typer.Option(min=0, help="How many seconds it should come to.", show_default=False)
    ] = None,
    amount: Annotated[
        list[str] | None,
        typer.Option(help="What it should come to, such as 'EUR 12.34'; once for each currency.", show_default=False),
    ] = None,
    allow_bad: Annotated[
        int | None,
        typer.Option(min=0, help="Load nothing where more lines cannot be read; any number may when left out."),
    ] = None,
    who: Who = None,
    *,
    despite_totals: Annotated[
        bool, typer.Option("--despite-totals", help="Load it though its totals differ from its lines.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the file and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load a provider's file: all of it, or nothing; the same file again changes nothing.

    Lines that cannot be read are kept with the reason, and so is the text of every line. Where the totals that the file
    or an option states differ from what its lines come to, nothing is loaded.

    Exit code 1 when lines could not be read, totals differ or nothing was loaded.
    """
    with _mistakes_told(mapping):
        read_by = _read_mapping(mapping)
        of_zone = _zone(zone, read_by)
        _check(provider, period, of_zone)
        wanted = Wanted(
            provider=provider,
            mapping=read_by,
            zone=of_zone,
            region=_region(read_by),
            month=period,
            stated=Totals(lines, seconds, None, _money(amount, read_by)),
            most_bad=allow_bad,
            despite_totals=despite_totals,
        )
        with (
            _opened(file) as opened,
            database() as engine,
            bars.of_bytes("Reading", opened.size_bytes) as progress,
        ):
            loaded = load_file(engine, opened, wanted, who=who or operator_name(), dry_run=dry_run, progress=progress)
    if as_json:
        print_json(loaded_as_dict(loaded, dry_run=dry_run))
    else:
        show_loaded(loaded, file, Clock(wanted.zone), dry_run=dry_run)
    if not loaded.is_well:
        raise typer.Exit(FOUND)


def preview(
    file: FilePath,
    mapping: MappingPath,
    lines: Annotated[int, typer.Option(min=1, help="How many.")] = _PREVIEWED,
    zone: Zone = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the first lines of a file as they would be read, beside how they came; needs no database.

    Exit code 1 when one of them cannot be read, or there is none.
    """
    with _mistakes_told(mapping):
        read_by = _read_mapping(mapping)
        name = _zone(zone, read_by)
        with _opened(file) as opened:
            entries = opened.opened(read_by, zone=name, region=_region(read_by)).entries
            found = list(_first(entries, lines))
    if as_json:
        print_json([entry_as_dict(entry) for entry in found])
    else:
        console.print(preview_table(found, Clock(name)))
        console.print(f"Times are of {name}.", highlight=False)
    if not found:
        remark(f"{file} has no lines of calls.")
    if not found or any(entry.bad for entry in found):
        raise typer.Exit(FOUND)


@contextlib.contextmanager
def _mistakes_told(mapping: Path) -> Iterator[None]:
    """End the command where the mapping, or an option beside it, is wrong."""
    try:
        yield
    except MappingError as error:
        complain(f"{mapping} cannot be used: {counted(len(error.mistakes), 'mistake')}", "\n".join(error.mistakes))
        raise typer.Exit(WRONG) from None


def _read_mapping(path: Path) -> Mapping:
    try:
        return read_mapping(read_file(path).decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise MappingError(["is not UTF-8"]) from None


def _opened(path: Path) -> ProviderFile:
    try:
        return ProviderFile(path)
    except OSError as error:
        complain(f"cannot read {path}: {error.strerror}")
        raise typer.Exit(WRONG) from None


def _zone(said_zone: str | None, mapping: Mapping) -> str:
    if said_zone is not None and (fault := zone_fault(said_zone)):
        raise typer.BadParameter(fault, param_hint="'--zone'")
    return said_zone or mapping.file.zone or current_settings().pipeline_timezone


def _check(provider: str, period: str | None, zone: str) -> None:
    """End the command where its own words are wrong, not the mapping or the file."""
    try:
        check_name(provider)
    except MappingError as error:
        raise typer.BadParameter(error.mistakes[0].removeprefix("provider: "), param_hint="'--provider'") from None
    try:
        if period is not None:
            month_in(period, zone)
    except DataError as error:
        raise typer.BadParameter(error.reason, param_hint="'--period'") from None


def _region(mapping: Mapping) -> str:
    return mapping.file.region or current_settings().pipeline_region


def _money(amounts: list[str] | None, mapping: Mapping) -> dict[str, Decimal] | None:
    """What the options say, by currency."""
    if not amounts:
        return None
    read, found = figure_reader("1234.56"), {}
    for text in amounts:
        try:
            value, currency = read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--amount'") from None
        currency = currency or mapping.constants.currency
        if currency is None:
            raise typer.BadParameter(f"must have its currency, such as 'EUR {text}'", param_hint="'--amount'")
        found[currency] = value
    return found


def _first(entries: Iterable[Entry], wanted: int) -> Iterator[Entry]:
    """Entries up to so many lines that are calls or should be."""
    for entry in entries:
        yield entry
        wanted -= entry.left_out is None
        if not wanted:
            return
