"""``pipeline provider ports``: numbers ported between networks."""

from __future__ import annotations

import contextlib
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.billing.ported_rows import BAD_LINES_KEPT, load_ports
from pipeline.billing.rules.ported_numbers import COLUMNS, PortedFileError
from pipeline.billing.rules.tariff_file import BadLine
from pipeline.cli import bad_lines
from pipeline.cli import progress as bars
from pipeline.cli.common import AsJson, Who, database
from pipeline.cli.exits import WRONG
from pipeline.cli.output import complain, console, operator_name, print_json
from pipeline.cli.tables import counted
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

app = typer.Typer(help="Numbers ported between networks.", no_args_is_help=True)


@app.callback()
def _ports() -> None:
    """Numbers ported between networks."""


@app.command(
    "load",
    help=f"""Add a CSV file of ported numbers to those that are there: all of it, or nothing when a line is bad.

    The first line names the columns: {", ".join(COLUMNS)}. A number is E.164; from is the first instant in that
    network, to the first that is no longer, or empty. A line with the number, network and from of one that is there
    sets its end; any other overlap is refused.

    A provider's rate with a network beats the prefix for a number that was ported to it when it was called.""",
)
def load(
    file: Annotated[Path, typer.Argument(help="A CSV file in UTF-8; delimited by comma, semicolon or tab.")],
    who: Who = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    try:
        with _opened(file) as (opened, size), database() as engine, bars.of_bytes("Reading", size) as progress:
            loaded = load_ports(
                engine,
                _lines(opened, progress),
                file_name=file.name,
                timezone=current_settings().pipeline_timezone,
                loaded_by=who or operator_name(),
                dry_run=dry_run,
            )
    except PortedFileError as error:
        more = "… and there may be more." if len(error.bad_lines) >= BAD_LINES_KEPT else None
        bad_lines.refuse(file, error.bad_lines, as_json=as_json, more=more)
    if as_json:
        print_json(loaded._asdict())
        return
    verb = "would be" if dry_run else "were"
    console.print(
        f"{counted(loaded.lines, 'line')}: {loaded.added:,} {verb} added, {loaded.ended:,} {verb} given another end, "
        f"{loaded.already:,} were there already.",
        highlight=False,
    )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    try:
        opened = file.open("rb")
        size = file.stat().st_size
    except OSError as error:
        complain(f"cannot read {file}: {error.strerror}")
        raise typer.Exit(WRONG) from None
    with opened:
        yield opened, size


def _lines(opened: BinaryIO, progress: Callable[[int], None]) -> Iterator[str]:
    """The lines of a file as text, one at a time: a country's ported numbers are many."""
    read = 0
    for number, line in enumerate(opened, 1):
        read += len(line)
        progress(read)
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"is not UTF-8 (byte 0x{line[error.start]:02X}): save the file as CSV UTF-8"
            raise PortedFileError([BadLine(number, None, reason)]) from None
