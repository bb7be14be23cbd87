"""``pipeline subject marks`` and ``reapply``: what was erased stays so, when a copy from before is restored."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.archive_store import archive_if_on
from pipeline.cli.common import AsJson, Who, database, read_file
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, operator_name, print_json
from pipeline.cli.tables import counted
from pipeline.settings import current_settings, recording_store

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.calls.rules.erasure_key import ErasureKey
    from pipeline.calls.rules.spellings import Spelled
    from pipeline.erasure.runs import Proof

REAPPLIED = "erased before, and restored from a copy of before"


def marks(
    output: Annotated[Path, typer.Option(help="The file to write; one that is there is written anew.")],
) -> None:
    """Write the marks of all numbers that were erased to a file, to be kept outside the database and its backups."""
    from pipeline.erasure.marks import all_marks  # noqa: PLC0415 - no other command needs it
    from pipeline.erasure.rules.marks_file import written  # noqa: PLC0415 - no other command needs it

    with database() as engine, engine.connect() as connection:
        found = all_marks(connection)
    try:
        beside = output.with_name(f".{output.name}.new")
        beside.write_text("".join(written(found)), encoding="ascii")
        beside.replace(output)
    except OSError as error:
        complain(f"cannot write {output}: {error.strerror}")
        raise typer.Exit(WRONG) from None
    console.print(f"{counted(len(found), 'mark')} written.", highlight=False)


def reapply(
    file: Annotated[
        Path | None, typer.Argument(help="What `subject marks` wrote; left out: the marks in the database.")
    ] = None,
    who: Who = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Erase again whatever was erased before: after a backup was restored, or a provider's file was loaded.

    Every call is looked at. Exit code 1 when a hold or a minimum stands against one of them; the others are erased.
    """
    from pipeline.calls.rules.spellings import spell  # noqa: PLC0415 - the library of numbers loads slowly
    from pipeline.erasure import marks as rows  # noqa: PLC0415
    from pipeline.erasure.erase import HeldError  # noqa: PLC0415
    from pipeline.erasure.rules.marks_file import read  # noqa: PLC0415

    given = read(read_file(file)) if file is not None else []
    settings, key = current_settings(), _key()
    held = erased = 0
    with database() as engine:
        with engine.begin() as connection:
            added = rows.load(connection, given, key)
        with engine.connect() as connection:
            numbers = rows.marked_numbers(connection, key, settings.pipeline_region)
        for number in numbers:
            try:
                spelled = spell(number, settings.pipeline_region)
                erase_one(engine, spelled, who=who or operator_name(), because=REAPPLIED)
                erased += 1
            except HeldError as error:
                complain(str(error))
                held += 1
    if as_json:
        print_json({"marks_added": added, "erased": erased, "held": held})
    else:
        console.print(f"{counted(added, 'mark')} added, {counted(erased, 'number')} erased again.", highlight=False)
    if held:
        raise typer.Exit(FOUND)


def erase_one(engine: Engine, spelled: Spelled, *, who: str, because: str) -> Proof:
    """Erase a number with the settings of this environment.

    Args:
        engine: the database.
        spelled: the number.
        who: does it.
        because: why, for the record.
    """
    from pipeline.erasure.erase import erase  # noqa: PLC0415 - fsspec and what it opens stores with load slowly

    settings = current_settings()
    store = recording_store(settings)
    return erase(engine, store, spelled, _key(), who=who, because=because, archive=archive_if_on())


def _key() -> ErasureKey:
    from pipeline.calls.rules.erasure_key import ErasureKey  # noqa: PLC0415

    return ErasureKey(current_settings().erasure_key.get_secret_value())
