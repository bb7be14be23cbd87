"""``pipeline recordings verify``: every stored file read, and compared with what was stored."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.common import AsJson, Utc, Who, clock, database
from pipeline.cli.exits import FOUND
from pipeline.cli.output import as_text, console, errors, operator_name, print_json
from pipeline.cli.tables import counted
from pipeline.settings import current_settings, recording_store

BAD_FILES_SHOWN: Final = 100


# long: shows progress while it reads, then what it found
def verify(
    who: Who = None,
    *,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, and do not go on where a run ended.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Read every stored file of this environment's dialler and compare it with its size and SHA-256.

    A run that was interrupted is gone on with. Exit code 1 when a file differs, in this part of the run or before.
    """
    # fsspec and what it opens stores with load slowly, and no other command needs them.
    from pipeline.recordings import retention as keeping  # noqa: PLC0415

    settings = current_settings()
    store = recording_store(settings)
    with database() as engine:
        run = keeping.begin_verification(
            engine, who=who or operator_name(), source=settings.enigma_source, afresh=restart
        )
        if run.cleared:
            errors.print(
                f"Cleared {counted(run.cleared, 'mark')} that an earlier version set on other diallers' files: it "
                "looked for them in one store. Verify those where their ENIGMA_SOURCE and RECORDINGS_URL are set.",
                highlight=False,
            )
        if run.resumed:
            errors.print(f"Going on with the run of {clock(utc=utc).show(run.began_at)}.", highlight=False)
        columns = (TextColumn("verifying"), BarColumn(40), MofNCompleteColumn(), TextColumn("files"))
        shown = read = 0
        with Progress(*columns, DownloadColumn(), TimeRemainingColumn(), console=errors) as progress:
            files = progress.add_task("", total=run.files)
            for verified in keeping.verify(engine, store, run):
                read += 1
                progress.advance(files)
                if verified.problem and shown < BAD_FILES_SHOWN:
                    shown += 1
                    progress.console.print(as_text(f"{verified.file.path}: {verified.problem}"))
        problems = keeping.problems_of(engine, run)
    if as_json:
        print_json(
            {
                "source": run.source,
                "read": read,
                "differing": problems,
                "resumed": run.resumed,
                "began_at": run.began_at,
                "cleared": run.cleared,
            }
        )
    else:
        differ = f"{problems:,} differ{'s' if problems == 1 else ''}"
        console.print(f"{counted(read, 'file')} of {run.source} read; {differ}.", highlight=False)
        if problems:
            console.print("List them with: pipeline recordings list --differs", highlight=False)
    if problems:
        raise typer.Exit(FOUND)
