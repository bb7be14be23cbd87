"""``pipeline subject``: all that is held of a number, told or erased, and what stands against that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import subject_marks
from pipeline.cli.archive_store import archive_if_on
from pipeline.cli.common import AsJson, Who, database, said
from pipeline.cli.exits import FOUND
from pipeline.cli.output import complain, console, operator_name, print_json, remark
from pipeline.cli.tables import Table, counted
from pipeline.keeping import holds
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from pipeline.calls.rules.spellings import Spelled
    from pipeline.erasure.archived import Holding

app = typer.Typer(help="All that is held of one number: told, erased, or kept from that.", no_args_is_help=True)
app.command("marks")(subject_marks.marks)
app.command("reapply")(subject_marks.reapply)

Number = Annotated[str, typer.Argument(help="The number: E.164, or as it is dialled in PIPELINE_REGION.")]
BecauseNeeded = Annotated[str, typer.Option("--because", help="Why, for the record; without the number.")]


@app.command()
def export(number: Number) -> None:
    """Write all that is held of a number as JSON, by place. Exit code 1 when there is nothing."""
    from pipeline.erasure.held import held_of  # noqa: PLC0415 - what it looks at loads slowly

    spelled = _spelled(number)
    with database() as engine:
        with engine.connect() as connection:
            held = held_of(connection.execution_options(isolation_level="REPEATABLE READ"), spelled)
        if archived := _archived(engine, spelled):
            held["archive"] = [
                {"source": each.part.source, "month": each.part.month, "name": each.part.name, "rows": each.rows}
                for each in archived
            ]
    print_json({"number": spelled.number, "held": held})
    if not held:
        raise typer.Exit(FOUND)


@app.command()
def erase(
    number: Number,
    because: BecauseNeeded,
    who: Who = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be taken out, and where.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a number out of everything that holds it: rewritten where it stands, recordings deleted; no charge changes.

    An interrupted run is gone on with by giving the number again. Exit code 1 when a hold or a minimum of `pipeline
    keeping` stands against it; with --dry-run also when there is nothing of it.
    """
    spelled, why = _spelled(number), said(because)
    with database() as engine:
        if dry_run:
            _dry_run(engine, spelled, as_json=as_json)
            return
        proof = subject_marks.erase_one(engine, spelled, who=who or operator_name(), because=why)
    if as_json:
        print_json(proof._asdict())
        return
    _show(proof.counts)
    console.print(f"Erased. The proof of it is erasure {proof.id}.", highlight=False)


@app.command()
def hold(number: Number, because: BecauseNeeded, who: Who = None) -> None:
    """Hold a number: nothing of it is erased, and no recording of it deleted, until it is released."""
    spelled, why = _spelled(number), said(because)
    with database() as engine, engine.begin() as connection:
        held = holds.hold_number(connection, spelled.number, who=who or operator_name(), because=why)
    console.print(f"The number is held{'' if held else ' already'}.", highlight=False)


@app.command()
def release(number: Number, because: BecauseNeeded, who: Who = None) -> None:
    """End the hold on a number. Exit code 1 when there was none."""
    spelled, why = _spelled(number), said(because)
    with database() as engine, engine.begin() as connection:
        released = holds.release_number(connection, spelled.number, who=who or operator_name(), because=why)
    if not released:
        complain("the number is not held")
        raise typer.Exit(FOUND)
    console.print("The number is no longer held.", highlight=False)


def _spelled(number: str) -> Spelled:
    from pipeline.calls.rules.spellings import spell  # noqa: PLC0415 - the library of numbers loads slowly

    return spell(number, current_settings().pipeline_region)


def _archived(engine: Engine, spelled: Spelled) -> list[Holding]:
    """The files of the archive that hold a number."""
    from pipeline.erasure.archived import check_archive, holding  # noqa: PLC0415 - what it reads with loads slowly

    store = archive_if_on()
    check_archive(engine, store)
    return [] if store is None else list(holding(engine, store, spelled))


def _dry_run(engine: Engine, spelled: Spelled, *, as_json: bool) -> None:
    from pipeline.erasure.erase import HeldError, check_holds  # noqa: PLC0415
    from pipeline.erasure.held import counted as counts_of  # noqa: PLC0415
    from pipeline.erasure.held import held_of  # noqa: PLC0415

    against = None
    with engine.connect() as connection:
        counts = counts_of(held_of(connection, spelled))
        try:
            check_holds(connection, spelled)
        except HeldError as error:
            against = str(error)
    if archived := _archived(engine, spelled):
        counts["archive"] = sum(each.rows for each in archived)
    if as_json:
        print_json({"counts": counts, "against": against})
    else:
        _show(counts)
        if against is None:
            remark("Nothing was changed. Nothing stands against it.")
    if against is not None and not as_json:
        complain(against)
    if against is not None or not counts:
        raise typer.Exit(FOUND)


def _show(counts: Mapping[str, int]) -> None:
    table = Table("place", "rows")
    for place, many in sorted(counts.items()):
        table.add_row(place, many)
    console.print(table)
    remark(f"{counted(len(counts), 'place')} held it.")
