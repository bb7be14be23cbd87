"""``pipeline recordings``: where recordings are, which are missing and why, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import recordings_keys
from pipeline.cli.common import (
    AsJson,
    Because,
    Campaign,
    FormatOption,
    Reason,
    Source,
    Utc,
    Who,
    chosen,
    clock,
    database,
    time_option,
)
from pipeline.cli.exits import FOUND, WRONG
from pipeline.cli.output import complain, console, errors, operator_name, print_json, print_rows, remark
from pipeline.cli.recordings_get import get
from pipeline.cli.recordings_shown import remark_on, show_pause, show_queues, state_of
from pipeline.cli.recordings_verify import verify
from pipeline.cli.tables import Format, Table, counted
from pipeline.recordings import listing as recording_list
from pipeline.recordings import operator
from pipeline.recordings import pauses as recording_pauses
from pipeline.recordings.listing import RecordingFilter
from pipeline.recordings.rules.outcome import RecordingState
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer(help="Where recordings are, which are missing, and what to do about it.", no_args_is_help=True)
app.command("get")(get)
app.command("verify")(verify)
app.add_typer(recordings_keys.app, name="keys")

CallRef = Annotated[str, typer.Argument(help="The dialler's internal call reference.")]
State = Annotated[list[RecordingState] | None, typer.Option(help="Only in this state; may be given several times.")]
OneSource = Annotated[
    str | None, typer.Option("--source", help="The dialler; needed when two have this reference.", show_default=False)
]
Since = Annotated[datetime | None, time_option("Calls dialled at this time or later.")]
Until = Annotated[datetime | None, time_option("Calls dialled before this time.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="The most to show.")]
BecauseBefore = Annotated[str | None, typer.Option("--reason", help="What --because was called.", hidden=True)]


@app.command()
def status(*, utc: Utc = False, as_json: AsJson = False) -> None:
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
        show_queues(queues)
        console.print(
            f"At most {counted(settings.recordings_concurrency, 'download')} at once and "
            f"{settings.recordings_rate:g} requests a second to each dialler.",
            highlight=False,
        )
        for pause in pauses:
            show_pause(pause, clock(utc=utc))
    if pauses:
        raise typer.Exit(FOUND)


@app.command("list")
def list_(
    state: State = None,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    call_ref: Annotated[str | None, typer.Option(help="One call.")] = None,
    reason: Reason = None,
    limit: Limit = 50,
    format_: FormatOption = Format.TABLE,
    *,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Under legal hold or not.")] = None,
    deleted: Annotated[bool | None, typer.Option("--deleted/--kept", help="File deleted or not.")] = None,
    differs: Annotated[bool | None, typer.Option("--differs/--sound", help="Found to differ by `verify`.")] = None,
    undeleted: Annotated[bool, typer.Option("--undeleted", help="Past retention, and cannot be deleted.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show recordings, newest call first. Exit code 0, whether there are any or not."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    wanted = RecordingFilter(
        [each.value for each in state] if state else None, source, campaign, call_ref, since, until, reason,
        held, differs, deleted, undeleted or None,
    )  # fmt: skip
    with database() as engine, engine.connect() as connection:
        rows = recording_list.list_recordings(connection, wanted, limit=limit)
    table = Table("source", "call_ref", "campaign", "dialled", "state", "tries", "due", "path", "reason")
    for row in rows:
        table.add_row(
            row.source, row.call_ref, row.campaign_ref, times.show(row.dialed_at), state_of(row),
            row.attempts, times.show(row.due_at), row.path, remark_on(row),
        )  # fmt: skip
    print_rows(table, format_, [asdict(row) for row in rows])
    if format_ is Format.TABLE:
        remark(f"{counted(len(rows), 'recording')} shown.")


@app.command()
def missing(
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    limit: Limit = 50,
    format_: FormatOption = Format.TABLE,
    *,
    ended: Annotated[bool, typer.Option("--ended", help="Only those that nothing more is tried for.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also those that retention deleted.")] = False,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show answered calls without a stored recording, and why. Exit code 1 when there are any."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    wanted = RecordingFilter(source=source, campaign=campaign, since=since, until=until)
    with database() as engine, engine.connect() as connection:
        rows, total = recording_list.list_missing(connection, wanted, ended=ended, limit=limit, with_deleted=deleted)
    table = Table("source", "call_ref", "campaign", "dialled", "state", "tries", "reason")
    for row in rows:
        table.add_row(
            row.source, row.call_ref, row.campaign_ref, times.show(row.dialed_at), row.state, row.attempts, row.reason
        )
    print_rows(table, format_, {"missing": total, "calls": [row._asdict() for row in rows]})
    if format_ is Format.TABLE:
        remark(f"{len(rows):,} of {counted(total, 'call')} shown.")
    if total:
        raise typer.Exit(FOUND)


@app.command()
def retry(
    call_refs: Annotated[list[str] | None, typer.Argument(help="The calls' references.")] = None,
    state: State = None,
    source: Source = None,
    campaign: Campaign = None,
    reason: Annotated[str | None, typer.Option(help="With --all: those whose reason contains this text.")] = None,
    because: Because = None,
    who: Who = None,
    said: Annotated[str | None, typer.Option(help="What --reason was called.", hidden=True)] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All that the filters leave, instead of references; --state is needed.")
    ] = False,
) -> None:
    """Try recordings again that are absent, expired or failed, with their full time before them.

    Exit code 1 when a reference given was not scheduled, or when --all found none.
    """
    if call_refs and because is None:
        reason, because = None, reason  # with references --reason was why, and there is nothing to choose by it
    states = [each.value for each in state] if state else None
    if bool(call_refs) == everything or (everything and not states):
        complain("name calls by their references, or say --all with --state failed, expired or absent")
        raise typer.Exit(WRONG)
    if states and not set(states) <= set(operator.ENDED_WITHOUT_FILE):
        complain(f"only recordings that are {', '.join(operator.ENDED_WITHOUT_FILE)} can be tried again")
        raise typer.Exit(WRONG)
    with database() as engine, engine.begin() as connection:
        call_ids = None if everything else [_find(connection, ref, source) for ref in dict.fromkeys(call_refs or ())]
        retried = operator.retry(
            connection,
            who=who or operator_name(),
            reason=because,
            states=states or operator.ENDED_WITHOUT_FILE,
            call_ids=call_ids,
            source=source,
            campaign=campaign,
            said=reason if reason is not None else said,
        )
    console.print(f"{counted(retried.scheduled, 'recording')} scheduled again.", highlight=False)
    if retried.without_call_ref:
        console.print(f"{retried.without_call_ref:,} skipped: the dialler sent no call_ref to ask by.", highlight=False)
    others = 0 if call_ids is None else len(call_ids) - sum(retried)
    if others:
        console.print(f"{others:,} skipped: neither absent, expired nor failed, or left out by a filter.")
    if not retried.scheduled and reason is not None and because is None:
        errors.print("--reason chooses those whose reason has this text in it; say why with --because.")
    if not retried.scheduled or (call_ids is not None and retried.scheduled < len(call_ids)):
        raise typer.Exit(FOUND)


@app.command()
def hold(
    call_ref: CallRef,
    source: OneSource = None,
    because: Because = None,
    who: Who = None,
    because_before: BecauseBefore = None,
    *,
    utc: Utc = False,
) -> None:
    """Put a call's recording under legal hold: retention leaves it alone. Exit code 1 when its file is deleted."""
    with database() as engine, engine.begin() as connection:
        call_id = _find(connection, call_ref, source)
        held = operator.hold(connection, call_id, who=who or operator_name(), reason=because or because_before)
        found = recording_list.state_of(connection, call_id)
    console.print(f"The recording of {call_ref} is held{'' if held else ' already'}.", highlight=False)
    if found.deleted_at is not None:
        complain(f"its file was deleted at {clock(utc=utc).show(found.deleted_at)}: {found.deleted_reason}")
        raise typer.Exit(FOUND)


@app.command()
def release(
    call_ref: CallRef,
    source: OneSource = None,
    because: Because = None,
    who: Who = None,
    because_before: BecauseBefore = None,
) -> None:
    """End a call's legal hold. Exit code 1 when there was none."""
    with database() as engine, engine.begin() as connection:
        call_id = _find(connection, call_ref, source)
        why = because or because_before
        if not operator.end_hold(connection, call_id, who=who or operator_name(), reason=why):
            complain(f"the recording of {call_ref} is not held")
            raise typer.Exit(FOUND)
    console.print(f"The recording of {call_ref} is no longer held.", highlight=False)


@app.command()
def resume(source: Source = None, who: Who = None) -> None:
    """End the pause of a queue at once, its cause being removed. Exit code 1 when none was paused."""
    with database() as engine, engine.begin() as connection:
        lifted = recording_pauses.lift(connection, source, who=who or operator_name())
    if not lifted:
        complain(f"the recordings of {source} are not paused" if source else "no recordings are paused")
        raise typer.Exit(FOUND)
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
    raise typer.Exit(FOUND)
