"""``pipeline recordings get``: a stored recording as a file, or the sentence why there is none."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import Because, Who, clock, database
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, operator_name
from pipeline.cli.tables import counted
from pipeline.logs.rules.visible import visible
from pipeline.settings import current_settings, recording_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from pipeline.recordings.fetching import CallsRecording
    from pipeline.recordings.retention_rows import KeptFile

STANDARD_OUTPUT = Path("-")
STORE = "Look whether RECORDINGS_URL names its store, and run: pipeline recordings verify"
KEYS = "Look whether RECORDINGS_KEYS_URL names its folder of keys, and run: pipeline recordings keys list"


# long: most of it is its options
def get(
    call_ref: Annotated[str, typer.Argument(help="The dialler's internal call reference.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A file, a folder, or - for standard output. Left out, a file here by its own name."
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="One dialler; needed when two have this reference.")] = None,
    because: Because = None,
    who: Who = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Get a call's stored recording, compared with its size and SHA-256. That it was fetched, and by whom, is kept.

    Exit code 1 when there is none, and when it is not what was stored: of what went to standard output by then, nothing
    is to be trusted.
    """
    # fsspec and what it opens stores with load slowly.
    from pipeline.recordings import fetching  # noqa: PLC0415
    from pipeline.recordings.rules.encrypted import CannotDecryptError  # noqa: PLC0415
    from pipeline.recordings.store_trouble import NoSuchFileError  # noqa: PLC0415

    settings, its = current_settings(), f"the recording of call {call_ref}"
    with database() as engine:
        file = _find(engine, call_ref, source)
        store = recording_store(settings)
        parts = fetching.fetch(engine, store, file, who=who or operator_name(), because=because)
        try:
            if output == STANDARD_OUTPUT:
                _to_standard_output(parts)
            else:
                _to_file(parts, _target(file, output), file, force=force)
        except (NoSuchFileError, fetching.DiffersError) as error:
            complain(f"{its} is not in the store as it was stored: {error}", _remedy(file, STORE))
            raise typer.Exit(FOUND) from None
        except CannotDecryptError as error:
            complain(f"{its} cannot be decrypted: {error}", _remedy(file, KEYS))
            raise typer.Exit(FOUND) from None


def _find(engine: Engine, call_ref: str, source: str | None) -> KeptFile:
    from pipeline.recordings.fetching import find_recordings  # noqa: PLC0415

    with engine.connect() as connection:
        found = find_recordings(connection, call_ref, source)
    if len(found) > 1:
        sources = ", ".join(each.source for each in found)
        complain(f"{len(found)} diallers have a call {call_ref}", visible(f"Add --source, one of: {sources}"))
    elif not found:
        where = f" of {source}" if source is not None else ""
        complain(f"no call{where} has the reference {call_ref}", visible(f"Ask: pipeline explain {call_ref}"))
    elif (file := found[0].file) is not None:
        return file
    else:
        what, remedy = _why_not(found[0])
        complain(what, visible(remedy))
    raise typer.Exit(FOUND)


def _why_not(call: CallsRecording) -> tuple[str, str]:
    """Why a call has no file, and what to do about it."""
    its, reason = f"the recording of call {call.call_ref}", call.reason or ""
    again = f"Have it tried again: pipeline recordings retry {call.call_ref}"
    if call.state is None:
        if call.can_have_audio:
            return f"{its} is not scheduled yet: its batch is on its way", ""
        how = "it is not classified yet" if call.disposition is None else f"it ended as {call.disposition}"
        return f"call {call.call_ref} has no recording: {how}", ""
    if call.deleted_at is not None:
        return f"{its} was deleted at {clock().show(call.deleted_at)}: {call.deleted_reason}", ""
    if call.state == "scheduled":
        tries = f"{counted(call.attempts, 'try', 'tries')} so far" if call.attempts else "it was not tried so far"
        due = f"next try at {clock().show(call.due_at)}" if call.due_at else ""
        return f"{its} is not here yet: {tries}", " ".join(each for each in (reason, due) if each)
    words = {
        "downloading": f"{its} is just being downloaded",
        "absent": f"call {call.call_ref} has no recording, the dialler has none: {reason}",
        "expired": f"{its} was given up after its time: {reason}",
        "failed": f"{its} could not be stored: {reason}",
    }
    return words[call.state], "" if call.state == "downloading" else again


def _remedy(file: KeptFile, here: str) -> str:
    settings = current_settings()
    if file.source == settings.enigma_source:
        return here
    return visible(
        f"It is of {file.source}, this environment is that of {settings.enigma_source}: run the command with "
        f"ENIGMA_SOURCE={file.source} and the RECORDINGS_URL of that dialler's recordings."
    )


def _to_standard_output(parts: Iterator[bytes]) -> None:
    if sys.stdout.isatty():
        complain("a recording is nothing for a terminal", "Name a file with --output, or send it on with a pipe.")
        raise typer.Exit(WRONG)
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _target(file: KeptFile, output: Path | None) -> Path:
    own = PurePosixPath(file.path).name
    if output is None:
        return Path(own)
    return output / own if output.is_dir() else output


def _to_file(parts: Iterator[bytes], target: Path, file: KeptFile, *, force: bool) -> None:
    """Take the name, write beside it, and put what is whole there: nothing else ever stands under it for long."""
    try:
        with contextlib.ExitStack() as undone:
            if not force:
                target.touch(0o600, exist_ok=False)
                undone.callback(target.unlink)
            handle, beside = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
            undone.callback(Path(beside).unlink)
            with os.fdopen(handle, "wb") as writing:
                writing.writelines(parts)
            Path(beside).replace(target)
            undone.pop_all()
    except FileExistsError:
        complain(f"{target} is there already, and stays as it is", "Name another file, or say --force.")
        raise typer.Exit(FOUND) from None
    except OSError as error:
        complain(f"cannot write {target}: {error.strerror}")
        raise typer.Exit(WRONG) from None
    said = f"{target} has the recording of call {file.call_ref}: {file.size_bytes / 1e6:,.1f} MB, as it was stored."
    console.print(said, highlight=False, soft_wrap=True)
