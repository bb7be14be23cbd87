"""``pipeline failures edit|accept``: another record in the place of one, or of all that match."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.cli.common import Because, Who, database
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.failure_options import chooses_failures
from pipeline.cli.failures_shown import none_left, show_preview, show_total
from pipeline.cli.output import complain, console, errors, operator_name
from pipeline.cli.tables import counted
from pipeline.failures import operator
from pipeline.failures.bulk_rows import ask_for, open_to, read_bulk_action
from pipeline.failures.listing import FailureFilter, count_failures, read_failure
from pipeline.failures.not_open import count_by_state
from pipeline.failures.preview import preview_of
from pipeline.failures.rules.change import Change, problem_of
from pipeline.failures.stakes import MOST, stakes_of, total_of
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.failures.bulk_rows import Action, BulkAction

FEW_CONFLICTS: Final = 10
"""Beyond so many that wait, accepting one asks again."""

LOOK_SECONDS: Final = 0.3
"""Between two looks how far the workers are."""

Id = Annotated[int | None, typer.Argument(help="The failure's id, as `list` shows it.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All that the filters leave, instead of one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --all: show what would become of them, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask again.")]


# long: one record from a file, or a change to all that match
@chooses_failures
def edit(
    wanted: FailureFilter,
    failure_id: Id = None,
    file: Annotated[
        str | None, typer.Option("--file", help="The record as it should have been; - for standard input.")
    ] = None,
    rename: Annotated[
        str | None, typer.Option(metavar="FIELD=NAME", help="With --all: give a field of each record another name.")
    ] = None,
    set_: Annotated[
        str | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="With --all: set a field of each; JSON, or a text as it is."),
    ] = None,
    because: Because = None,
    who: Who = None,
    *,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Put a mended record in the place of a quarantined one and retry it. What was received is kept.

    Of one by its id, with --file; of all that match with --all, by the same change to each: what would be no good
    record then either stays as it is. Exit code 1 when none was open.
    """
    if (failure_id := _one_or_all(failure_id, everything=everything)) is not None:
        if file is None or rename or set_:
            raise _wrong("give the record as it should have been by --file; --rename and --set are for --all")
        _edit_one(failure_id, file, who)
        return
    if file is not None or bool(rename) == bool(set_):
        raise _wrong("say what to do to all of them: --rename FIELD=NAME or --set FIELD=VALUE")
    change = _change(rename, set_)
    settings = current_settings()
    with database() as engine:
        chosen = _open_ones(engine, "edit", wanted)
        with engine.connect() as connection:
            preview = preview_of(connection, chosen, change, region=settings.pipeline_region, now=datetime.now(tz=UTC))
            total = count_failures(connection, chosen)
        show_preview(preview, total, change.sentence)
        if not preview.mended and total <= preview.looked_at:
            complain(f"{change.sentence} would mend none of them")
            raise typer.Exit(FOUND)
        if not dry_run:
            _ask("Do it?", yes=yes)
            _have_done(engine, "edit", chosen, who=who, because=because, change=change)


@chooses_failures
def accept(
    wanted: FailureFilter,
    failure_id: Id = None,
    because: Because = None,
    who: Who = None,
    *,
    everything: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Let a changed record take the place of its call's stored version: reversal and new charge.

    With --all those of all conflicts that match, once it has shown what that comes to in money. Where more than ten
    conflicts of the dialler wait it asks again, for these are hardly all corrections. Exit code 1 when none was open.
    """
    if (failure_id := _one_or_all(failure_id, everything=everything)) is not None:
        _accept_one(failure_id, who, yes=yes)
        return
    with database() as engine:
        chosen = _open_ones(engine, "accept", wanted)
        with engine.connect() as connection:
            stakes = stakes_of(connection, chosen, timezone=current_settings().pipeline_timezone)
            total = count_failures(connection, chosen)
        show_total(total_of(stakes), total, most=MOST)
        if total > FEW_CONFLICTS:
            _warn_of_reinstalled(total, chosen.source)
        if not dry_run:
            _ask("Accept them? This cannot be taken back.", yes=yes)
            _have_done(engine, "accept", chosen, who=who, because=because)


def _one_or_all(failure_id: int | None, *, everything: bool) -> int | None:
    if (failure_id is not None) == everything:
        raise _wrong("name a failure by its id, or say --all, with filters or without")
    return failure_id


def _wrong(problem: str) -> typer.Exit:
    complain(problem)
    return typer.Exit(WRONG)


def _edit_one(failure_id: int, file: str, who: str | None) -> None:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        complain(f"{file}: {error.strerror}")
        raise typer.Exit(WRONG) from None
    with database() as engine:
        operator.edit(
            engine, failure_id, raw.strip(), who=who or operator_name(),
            region=current_settings().pipeline_region, now=datetime.now(tz=UTC),
        )  # fmt: skip
    console.print(f"Failure {failure_id} is edited and goes on shortly.")


def _accept_one(failure_id: int, who: str | None, *, yes: bool) -> None:
    with database() as engine:
        if not yes:
            _ask_about_many(engine, failure_id)
        accepted = operator.accept(engine, failure_id, who=who or operator_name())
    console.print(
        f"Call {accepted.call_ref} of {accepted.source} has the new version; "
        f"{counted(accepted.reversed_charges, 'charge')} reversed, the new one follows shortly.",
        highlight=False,
    )


def _ask_about_many(engine: Engine, failure_id: int) -> None:
    """Many conflicts are rather a dialler that counts from 1 again than as many corrections."""
    with engine.connect() as connection:
        failure = read_failure(connection, failure_id)
        if failure is None:
            return
        wanted = FailureFilter(failure_class="conflict", states=("open",), source=failure.source)
        count = count_failures(connection, wanted)
    if count > FEW_CONFLICTS:
        _warn_of_reinstalled(count, failure.source)
        _ask("Accept this one all the same?", yes=False)


def _warn_of_reinstalled(count: int, source: str | None) -> None:
    whose = f" of {source}" if source else ""
    complain(
        f"{count:,} conflicts{whose} wait: a dialler that was installed anew counts from 1 again",
        "Accepting overwrites a stored call. If these are other calls, give the dialler a new ENIGMA_SOURCE.",
    )


def _ask(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True, err=True)


def _change(rename: str | None, set_: str | None) -> Change:
    field, equals, to = (rename or set_ or "").partition("=")
    option = "--rename" if rename else "--set"
    if not equals:
        raise _wrong(f"{option} must be FIELD={'NAME' if rename else 'VALUE'}, got {field!r}")
    change = Change("rename" if rename else "set", field, to)
    if wrong := problem_of(change):
        raise _wrong(f"{option}: {wrong[1]}")
    return change


def _open_ones(engine: Engine, action: Action, wanted: FailureFilter) -> FailureFilter:
    """Those that match of the failures that this can be done to; ends the command when there are none."""
    chosen = open_to(action, wanted)
    with engine.connect() as connection:
        if count_failures(connection, chosen):
            return chosen
        why = none_left(count_by_state(connection, chosen._replace(states=None)))
    complain(why, f"Of class {'conflict' if action == 'accept' else 'data'} are those that can be {action}ed.")
    raise typer.Exit(FOUND)


def _have_done(
    engine: Engine, action: Action, chosen: FailureFilter, *, who: str | None, because: str | None,
    change: Change | None = None,
) -> None:  # fmt: skip
    """Write it down, wake a worker, and show how far the workers are."""
    from pipeline.tasks.failures import act_in_bulk  # noqa: PLC0415 - Celery loads slowly

    with engine.begin() as connection:
        bulk_id = ask_for(connection, action, chosen, who=who or operator_name(), reason=because, change=change)
    # Should the broker be away, the reconciler sends it later.
    act_in_bulk.send(bulk_id=bulk_id)
    try:
        bulk = _watch(engine, bulk_id)
    except KeyboardInterrupt:
        errors.print("The workers go on with it; Flower shows how far they are.", highlight=False)
        raise typer.Exit from None
    others = bulk.looked_at - bulk.done
    left = f" {counted(others, 'other')} stayed as {'it was' if others == 1 else 'they were'}." if others else ""
    console.print(f"{bulk.done:,} {'edited; they go on' if action == 'edit' else 'accepted; new charges follow'} "
                  f"shortly.{left}", highlight=False)  # fmt: skip


def _watch(engine: Engine, bulk_id: int) -> BulkAction:
    with console.status("waiting for a worker") as status:
        while True:
            with engine.connect() as connection:
                bulk = read_bulk_action(connection, bulk_id)
            assert bulk is not None
            if bulk.ended_at is not None:
                return bulk
            if bulk.looked_at:
                status.update(f"{bulk.looked_at:,} of {bulk.total:,}")
            time.sleep(LOOK_SECONDS)
