"""``pipeline recordings``: where recordings are, which are missing and why, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.cli.common import database
from pipeline.cli.output import INSTANTS, Table, as_text, aware, complain, console, errors, operator_name, print_json
from pipeline.cli.recordings_get import get
from pipeline.recordings import listing as recording_list
from pipeline.recordings import operator
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings.listing import RecordingFilter
from pipeline.recordings.rules.outcome import RecordingState
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.recordings.listing import Queue
    from pipeline.recordings.pauses import Pause
    from pipeline.recordings.rules.row import Recording

app = typer.Typer(help="Where recordings are, which are missing, and what to do about it.", no_args_is_help=True)
app.command("get")(get)

BAD_FILES_SHOWN = 100

CallRef = Annotated[str, typer.Argument(help="The dialler's internal call reference.")]
State = Annotated[list[RecordingState] | None, typer.Option(help="Only in this state; may be given several times.")]
Source = Annotated[str | None, typer.Option(help="One dialler; needed when two have this reference.")]
Campaign = Annotated[str | None, typer.Option(help="One campaign.")]
Since = Annotated[datetime | None, typer.Option(help="Calls dialled at this instant or later; UTC.", formats=INSTANTS)]
Until = Annotated[datetime | None, typer.Option(help="Calls dialled before this instant; UTC.", formats=INSTANTS)]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="The most to show.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the record.")]
Who = Annotated[str | None, typer.Option(help="Who does it, for the record; the system's user by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show how many recordings are where, each dialler's limits, and its pause. Exit code 1 while any is paused."""
    settings = current_settings()
    with database() as engine, engine.connect() as connection:
        queues = recording_list.queue_status(connection)
        pauses = recording_pauses.standing(connection)
    limits = {"concurrency": settings.recordings_concurrency, "rate": settings.recordings_rate}
    if as_json:
        print_json(
            {
                "queues": [queue._asdict() for queue in queues],
                "pauses": [pause._asdict() for pause in pauses],
                "limits": limits,
            }
        )
    else:
        _show_queues(queues)
        console.print(
            f"At most {limits['concurrency']} downloads at once and {limits['rate']:g} requests a second "
            "to each dialler.",
            highlight=False,
        )
        for pause in pauses:
            _show_pause(pause)
    if pauses:
        raise typer.Exit(1)


@app.command("list")
def list_(
    state: State = None,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    call_ref: Annotated[str | None, typer.Option(help="One call.")] = None,
    reason: Annotated[str | None, typer.Option(help="Those whose reason contains this text.")] = None,
    limit: Limit = 50,
    *,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Under legal hold or not.")] = None,
    deleted: Annotated[bool | None, typer.Option("--deleted/--kept", help="File deleted or not.")] = None,
    differs: Annotated[bool | None, typer.Option("--differs/--sound", help="Found to differ by `verify`.")] = None,
    undeleted: Annotated[bool, typer.Option("--undeleted", help="Past retention, and cannot be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show recordings, newest call first. Exit code 0, whether there are any or not."""
    wanted = RecordingFilter(
        [each.value for each in state] if state else None, source, campaign, call_ref, aware(since), aware(until),
        reason, held, differs, deleted, undeleted or None,
    )  # fmt: skip
    with database() as engine, engine.connect() as connection:
        rows = recording_list.list_recordings(connection, wanted, limit=limit)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = Table("source", "call_ref", "campaign", "dialled (UTC)", "state", "tries", "next (UTC)", "", box=None)
    for row in rows:
        table.add_row(
            row.source, row.call_ref, row.campaign_ref, _instant(row.dialed_at), _state(row),
            str(row.attempts), _instant(row.due_at), _remark(row),
        )  # fmt: skip
    console.print(table)
    console.print(f"{len(rows)} shown.", highlight=False)


@app.command()
def missing(
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    limit: Limit = 50,
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Only those that nothing more is tried for.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also those that retention deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show answered calls without a stored recording, and why. Exit code 1 when there are any."""
    wanted = RecordingFilter(source=source, campaign=campaign, since=aware(since), until=aware(until))
    with database() as engine, engine.connect() as connection:
        rows, total = recording_list.list_missing(connection, wanted, ended=ended, limit=limit, with_deleted=deleted)
    if as_json:
        print_json({"missing": total, "calls": [row._asdict() for row in rows]})
    else:
        table = Table("source", "call_ref", "campaign", "dialled (UTC)", "state", "tries", "why", box=None)
        for row in rows:
            table.add_row(
                row.source, row.call_ref, row.campaign_ref, _instant(row.dialed_at),
                row.state, str(row.attempts), row.reason,
            )  # fmt: skip
        console.print(table)
        console.print(f"{len(rows):,} of {total:,} shown.", highlight=False)
    if total:
        raise typer.Exit(1)


@app.command()
def retry(
    call_refs: Annotated[list[str] | None, typer.Argument(help="The calls' references.")] = None,
    state: State = None,
    source: Source = None,
    campaign: Campaign = None,
    said: Annotated[str | None, typer.Option(help="With --all: those whose reason contains this text.")] = None,
    reason: Reason = None,
    who: Who = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All that the filters leave, instead of references; --state is needed.")
    ] = False,
) -> None:
    """Try recordings again that are absent, expired or failed, with their full time before them.

    Exit code 1 when a reference given was not scheduled, or when --all found none.
    """
    states = [each.value for each in state] if state else None
    if bool(call_refs) == everything or (everything and not states):
        complain("name calls by their references, or say --all with --state failed, expired or absent")
        raise typer.Exit(2)
    if states and not set(states) <= set(operator.ENDED_WITHOUT_FILE):
        complain(f"only recordings that are {', '.join(operator.ENDED_WITHOUT_FILE)} can be tried again")
        raise typer.Exit(2)
    with database() as engine, engine.begin() as connection:
        call_ids = None if everything else [_find(connection, ref, source) for ref in dict.fromkeys(call_refs or ())]
        retried = operator.retry(
            connection,
            who=who or operator_name(),
            reason=reason,
            states=states or operator.ENDED_WITHOUT_FILE,
            call_ids=call_ids,
            source=source,
            campaign=campaign,
            said=said,
        )
    console.print(f"{retried.scheduled:,} scheduled again.", highlight=False)
    if retried.without_call_ref:
        console.print(f"{retried.without_call_ref:,} skipped: the dialler sent no call_ref to ask by.", highlight=False)
    others = 0 if call_ids is None else len(call_ids) - sum(retried)
    if others:
        console.print(f"{others:,} skipped: neither absent, expired nor failed, or left out by a filter.")
    if not retried.scheduled or (call_ids is not None and retried.scheduled < len(call_ids)):
        raise typer.Exit(1)


# long: shows progress while it reads, then what it found
@app.command()
def verify(
    who: Who = None,
    *,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, and do not go on where a run ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every stored file of this environment's dialler and compare it with its size and SHA-256.

    A run that was interrupted is gone on with. Exit code 1 when a file differs, in this part of the run or before.
    """
    # fsspec and what it opens stores with load slowly, and no other command needs them.
    from pipeline.recordings import retention as keeping  # noqa: PLC0415
    from pipeline.recordings.file_store import RecordingStore  # noqa: PLC0415

    settings = current_settings()
    store = RecordingStore(
        settings.recordings_url, settings.recordings_path, storage_options=settings.recordings_storage_options
    )
    with database() as engine:
        run = keeping.begin_verification(
            engine, who=who or operator_name(), source=settings.enigma_source, afresh=restart
        )
        if run.cleared:
            errors.print(
                f"{run.cleared:,} mark(s) that an earlier version set on other diallers' files are cleared: it looked "
                "for them in one store. Verify those where their ENIGMA_SOURCE and RECORDINGS_URL are set.",
                highlight=False,
            )
        if run.resumed:
            errors.print(f"Going on with the run of {_instant(run.began_at)} UTC.", highlight=False)
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
        console.print(f"{read:,} files of {run.source} read; {problems:,} differ.", highlight=False)
        if problems:
            console.print("List them with: pipeline recordings list --differs", highlight=False)
    if problems:
        raise typer.Exit(1)


@app.command()
def hold(call_ref: CallRef, source: Source = None, reason: Reason = None, who: Who = None) -> None:
    """Put a call's recording under legal hold: retention leaves it alone. Exit code 1 when its file is deleted."""
    with database() as engine, engine.begin() as connection:
        call_id = _find(connection, call_ref, source)
        held = operator.hold(connection, call_id, who=who or operator_name(), reason=reason)
        found = recording_list.state_of(connection, call_id)
    console.print(f"The recording of {call_ref} is held{'' if held else ' already'}.", highlight=False)
    if found.deleted_at is not None:
        complain(f"its file was deleted at {_instant(found.deleted_at)} UTC: {found.deleted_reason}")
        raise typer.Exit(1)


@app.command()
def release(call_ref: CallRef, source: Source = None, reason: Reason = None, who: Who = None) -> None:
    """End a call's legal hold. Exit code 1 when there was none."""
    with database() as engine, engine.begin() as connection:
        call_id = _find(connection, call_ref, source)
        if not operator.end_hold(connection, call_id, who=who or operator_name(), reason=reason):
            complain(f"the recording of {call_ref} is not held")
            raise typer.Exit(1)
    console.print(f"The recording of {call_ref} is no longer held.", highlight=False)


@app.command()
def resume(
    source: Annotated[str | None, typer.Option(help="One dialler; all when left out.")] = None, who: Who = None
) -> None:
    """End the pause of a queue at once, its cause being removed. Exit code 1 when none was paused."""
    with database() as engine, engine.begin() as connection:
        lifted = recording_pauses.lift(connection, source, who=who or operator_name())
    if not lifted:
        complain(f"the recordings of {source} are not paused" if source else "no recordings are paused")
        raise typer.Exit(1)
    for pause in lifted:
        console.print(f"The recordings of {pause.source} go on.", highlight=False)


def _find(connection: Connection, call_ref: str, source: str | None) -> int:
    found = recording_list.calls_of(connection, [call_ref], source).get(call_ref, [])
    if len(found) == 1:
        return found[0][1]
    if found:
        sources = ", ".join(each for each, _ in found)
        complain(f"{len(found)} diallers have a call {call_ref}", f"Add --source, one of: {sources}")
    else:
        where = f" of {source}" if source is not None else ""
        complain(f"no call{where} with the reference {call_ref} has a recording to fetch")
    raise typer.Exit(1)


def _show_queues(queues: list[Queue]) -> None:
    if not queues:
        console.print("No call had a recording yet.")
        return
    shown = ("scheduled", "due", "in_flight", "stored", "absent", "expired", "failed", "held", "deleted", "differing")
    table = Table("source", *(name.replace("_", " ") for name in shown), "stored MB", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in queues:
        table.add_row(row.source, *(f"{getattr(row, name):,}" for name in shown), f"{row.stored_bytes / 1e6:,.1f}")
    console.print(table)
    for row in queues:
        if row.not_begun:
            not_begun = as_text(f"{row.not_begun:,} of {row.source} were sent more than once and not begun:", "yellow")
            advice = as_text(f" is a recordings worker with ENIGMA_SOURCE={row.source} running?")
            console.print(Text.assemble(not_begun, advice))
        if row.undeleted:
            undeleted = (
                f"{row.undeleted:,} recordings of {row.source} are past their retention and could not be deleted:"
            )
            console.print(Text.assemble(as_text(undeleted, "yellow"), " pipeline recordings list --undeleted"))


def _show_pause(pause: Pause) -> None:
    paused = as_text(f"{pause.source} is paused", "bold red")
    console.print(Text.assemble(paused, as_text(f" since {_instant(pause.since)} UTC: {pause.reason}")))
    tried = f"{pause.failed_probes} tries in vain; " if pause.failed_probes else ""
    console.print(
        f"  {tried}one recording is tried at {_instant(pause.until)} UTC, or at once after: pipeline recordings resume",
        highlight=False,
    )


def _state(row: Recording) -> str:
    marks = [mark for name, mark in (("deleted_at", "deleted"), ("held_at", "held")) if getattr(row, name) is not None]
    return ", ".join([row.state, *marks])


def _remark(row: Recording) -> str:
    remark = row.verify_problem or row.deleted_reason or row.delete_problem
    if remark is None:
        remark = row.path if row.state == "stored" else row.reason
    return remark or ""


def _instant(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"
