"""What several commands do alike: their options, the zone of their times, the database, reading a file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.batches.sources import known_sources
from pipeline.billing.rules.sides import Side
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain
from pipeline.cli.tables import Format
from pipeline.database.engine import make_engine, reading
from pipeline.instants import Clock
from pipeline.logs.rules.visible import visible
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Engine

AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
FormatOption = Annotated[Format, typer.Option("--format", help="For people, spreadsheets or scripts.")]
Source = Annotated[str | None, typer.Option(help="One dialler; all when left out.", show_default=False)]
SideOption = Annotated[Side, typer.Option(help="Whose account: what clients are charged, or what providers charge.")]
Campaign = Annotated[str | None, typer.Option(help="One campaign.", show_default=False)]
Reason = Annotated[str | None, typer.Option(help="Those whose reason contains this text.", show_default=False)]
Because = Annotated[str | None, typer.Option(help="Why, for the record.", show_default=False)]
Who = Annotated[
    str | None, typer.Option(help="Who does it, for the record; the system's user by default.", show_default=False)
]
Utc = Annotated[bool, typer.Option("--utc", help="Show times in UTC, and not in PIPELINE_TIMEZONE.")]


def time_option(help_: str, *names: str) -> Any:
    """An option that takes a time: in PIPELINE_TIMEZONE, or with an offset of its own.

    Args:
        help_: what it is for.
        names: what it is called; left out, as its parameter.
    """
    return typer.Option(*names, help=help_, parser=_read_time, metavar="TIME", show_default=False)


def _read_time(text: str) -> datetime:
    try:
        return clock().read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def clock(*, utc: bool = False) -> Clock:
    """The zone that times are typed and shown in: PIPELINE_TIMEZONE, or UTC."""
    return Clock("UTC" if utc else current_settings().pipeline_timezone)


def said(because: str) -> str:
    """A reason that must be given, and is more than blanks."""
    if not because.strip():
        raise typer.BadParameter("say why")
    return because.strip()


def check_window(since: datetime | None, until: datetime | None) -> None:
    """Whether a window has any time in it; ends the command when it has none."""
    if since is not None and until is not None and until <= since:
        raise typer.BadParameter("must be later than --since", param_hint="'--until'")


def check_source(engine: Engine, source: str | None) -> None:
    """Whether anything was ever received from a dialler; ends the command when nothing was.

    A misspelt one would find nothing wrong.
    """
    if source is None:
        return
    with reading(engine) as connection:
        known = known_sources(connection)
    if source in known:
        return
    there_is = f"there is {', '.join(known)}" if known else "nothing was received from any"
    complain(visible(f"nothing was ever received from a dialler {source}: {there_is}"))
    raise typer.Exit(FOUND)


def chosen(format_: Format, *, as_json: bool) -> Format:
    """How rows are to be written, `--json` being short for `--format json`."""
    if as_json and format_ is Format.CSV:
        raise typer.BadParameter("--json and --format csv exclude each other", param_hint="'--format'")
    return Format.JSON if as_json else format_


def read_file(file: Path) -> bytes:
    """A file's bytes; ends the command when it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        complain(f"cannot read {file}: {error.strerror}")
        raise typer.Exit(WRONG) from None


@contextlib.contextmanager
def database(application: str = "cdr-cli") -> Iterator[Engine]:
    """The database, for as long as a command needs it.

    Args:
        application: what the server's list of sessions calls it.
    """
    engine = make_engine(current_settings().database_url, application=application, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()
