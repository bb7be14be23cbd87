"""``pipeline completeness``: calls the dialler placed against calls that came."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer looks it up when it reads the options
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import (
    AsJson,
    Campaign,
    FormatOption,
    Source,
    Utc,
    Who,
    chosen,
    clock,
    database,
    said,
    time_option,
)
from pipeline.cli.exits import AWAY, FOUND
from pipeline.cli.output import complain, console, operator_name, print_heading, print_json, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.completeness import missing_lines, missing_rows
from pipeline.completeness import pull as pulling
from pipeline.completeness.findings import SECOND_CONSUMER
from pipeline.completeness.report import report
from pipeline.dialler.cdr_list import CdrList
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.completeness.report import Report
    from pipeline.instants import Clock

app = typer.Typer(help="Calls the dialler placed against calls that came.")


@app.callback(invoke_without_command=True)
def completeness(
    context: typer.Context,
    since: Annotated[datetime | None, time_option("Calls counted or dialled at this time or later.")] = None,
    until: Annotated[datetime | None, time_option("Calls counted or dialled before this time.")] = None,
    campaign: Campaign = None,
    source: Source = None,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Show what each campaign should have sent, by what the dialler itself says of it, and where that is.

    Exit code 1 when something is missing, 3 when it could not be known.
    """
    if context.invoked_subcommand is not None:
        return
    format_ = chosen(format_, as_json=as_json)
    with database() as engine, engine.connect() as connection:
        found = report(connection, since=since, until=until, campaign=campaign, source=source)
    print_rows(_table(found), format_, _as_dict(found))
    if format_ is Format.TABLE:
        _remark(found, clock(utc=utc))
    if found.missing:
        raise typer.Exit(FOUND)
    if not found.known:
        complain("it could not be known whether calls are missing", _why_not(found))
        raise typer.Exit(AWAY)


@app.command("list")
def list_(
    campaign: Campaign = None,
    source: Source = None,
    state: Annotated[str, typer.Option(help="found, imported, arrived late, dismissed or all.")] = "found",
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Name the calls that are missing. Exit code 1 while one is."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    wanted = _state(state, missing_rows.STATES)
    with database() as engine, engine.connect() as connection:
        found = missing_rows.list_missing(connection, state=wanted, campaign=campaign, source=source)
    table = Table("source", "call ref", "campaign", "contact", "dialled", "state", "since", "reason")
    for each in found:
        about = (each.source, each.call_ref, each.campaign_ref, each.contact_ref, times.show(each.dialed_at))
        table.add_row(*about, each.state, times.show(each.ended_at or each.found_at), each.reason)
    print_rows(table, format_, [each._asdict() for each in found])
    if any(each.state == "found" for each in found):
        raise typer.Exit(FOUND)


@app.command()
def pull(
    campaign: Campaign = None,
    who: Who = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make calls of those that this dialler's API lists and that are missing, until their real records come.

    Exit code 1 when some could not be pulled.
    """
    import redis  # noqa: PLC0415 - no other command of these needs it

    settings = current_settings()
    cdr_list = CdrList(settings.enigma_redis_url, settings.enigma_list, owner="pipeline completeness pull")
    try:
        with database() as engine:
            done = pulling.pull(
                engine, cdr_list, source=settings.enigma_source, who=who or operator_name(), campaign=campaign
            )
    except redis.RedisError as error:
        complain(f"the dialler's Redis cannot be used: {error}", "Calls may lie on its list, so nothing was pulled.")
        raise typer.Exit(AWAY) from None
    except pulling.TooMuchOnItsWayError:
        complain("too much is on its way to tell what is missing", "Run it again when the backlog is gone.")
        raise typer.Exit(AWAY) from None
    finally:
        cdr_list.close()
    if as_json:
        print_json(done._asdict())
    else:
        console.print(f"{counted(done.pulled, 'call')} pulled.", highlight=False)
        if done.here:
            remark(f"{counted(done.here, 'call')} had come meanwhile.")
        if done.unclear:
            remark(f"{counted(done.unclear, 'call')} could not be: see their evidence in `completeness list --json`.")
    if done.unclear:
        raise typer.Exit(FOUND)


@app.command()
def dismiss(
    call_ref: Annotated[str, typer.Argument(help="The call.")],
    because: Annotated[str, typer.Option(help="Why, for the record.")],
    source: Source = None,
    who: Who = None,
) -> None:
    """Say of a missing call that it is none after all."""
    own = source or current_settings().enigma_source
    with database() as engine, engine.begin() as connection:
        missing_rows.dismiss(connection, own, call_ref, who=who or operator_name(), reason=because)
    console.print(f"Call {call_ref} of {own} is dismissed.", highlight=False)


@app.command()
def lines(
    provider: Annotated[str | None, typer.Option(help="One provider; all when left out.", show_default=False)] = None,
    state: Annotated[str, typer.Option(help="found, arrived late, dismissed or all.")] = "found",
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Name the calls that a provider's files have and that never came. Exit code 1 while one is missing."""
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    wanted = _state(state, missing_lines.STATES)
    with database() as engine, engine.connect() as connection:
        found = missing_lines.list_missing_lines(connection, state=wanted, provider=provider)
    table = Table("id", "provider", "number", "dialled", "seconds", "line", "run", "state", "since", "reason")
    for each in found:
        about = (each.id, each.provider, each.number, times.show(each.dialed_at), each.seconds, each.line, each.run_id)
        table.add_row(*about, each.state, times.show(each.ended_at or each.found_at), each.reason)
    print_rows(table, format_, [each._asdict() for each in found])
    if any(each.state == "found" for each in found):
        raise typer.Exit(FOUND)


@app.command("dismiss-line")
def dismiss_line(
    line_id: Annotated[int, typer.Argument(help="Its id, as `completeness lines` has it.")],
    because: Annotated[str, typer.Option(help="Why, for the record.")],
    who: Who = None,
) -> None:
    """Say of a call that only a provider's file has that none is missing."""
    reason = said(because)
    with database() as engine, engine.begin() as connection:
        missing_lines.dismiss_line(connection, line_id, who=who or operator_name(), reason=reason)
    console.print(f"Line {line_id} is dismissed.", highlight=False)


def _state(said: str, states: Sequence[str]) -> str | None:
    """The state that is asked for; None: any."""
    if said not in {*states, "all"}:
        raise typer.BadParameter(f"must be one of {', '.join(states)} or all", param_hint="'--state'")
    return None if said == "all" else said


def _table(found: Report) -> Table:
    table = Table("source", "campaign", "level", "expected", "received", "late", "missing", "unknown", "sure")
    for line in found.lines:
        table.add_row(line.source, line.campaign_ref, line.level, *line.sum, line.sure)
    return table


def _remark(found: Report, times: Clock) -> None:
    for each in found.findings:
        by = " A second consumer takes from the list." if each.kind == SECOND_CONSUMER else ""
        remark(
            f"{each.campaign_ref} of {each.source}: {counted(each.calls, 'call')} missing since "
            f"{times.show(each.since)}.{by}"
        )
    if any(line.level == 3 and line.sum.missing for line in found.lines):
        remark("Name them with: pipeline completeness list")
    for billed in found.billed:
        remark(
            f"{counted(billed.lines, 'call')} of {billed.provider}'s files never came, the first dialled at "
            f"{times.show(billed.since)}. Name them with: pipeline completeness lines"
        )
    if found.witnesses:
        print_heading("Witnesses")
        table = Table("source", "level", "state", "says")
        for witness in found.witnesses:
            table.add_row(witness.source, witness.level, witness.state, witness.says)
        console.print(table)


def _why_not(found: Report) -> str:
    if not found.witnesses:
        return "No worker of the process `recordings` has looked so far: is it up, and beat?"
    return "\n".join(f"Level {each.level} of {each.source}: {each.says}." for each in found.witnesses)


def _as_dict(found: Report) -> dict[str, Any]:
    return {
        "lines": [
            {
                "source": line.source,
                "campaign_ref": line.campaign_ref,
                "level": line.level,
                **line.sum._asdict(),
                "sure": line.sure,
            }
            for line in found.lines
        ],
        "findings": [each._asdict() for each in found.findings],
        "witnesses": [each._asdict() for each in found.witnesses],
        "billed": [each._asdict() for each in found.billed],
        "missing": found.missing,
        "known": found.known,
    }
