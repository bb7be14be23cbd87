"""``pipeline completeness``: calls the dialler placed against calls that came."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - typer looks it up when it reads the options
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import AsJson, Campaign, FormatOption, Source, Utc, chosen, clock, database, time_option
from pipeline.cli.exits import AWAY, FOUND
from pipeline.cli.output import complain, console, print_heading, print_rows, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.completeness.findings import SECOND_CONSUMER
from pipeline.completeness.report import report

if TYPE_CHECKING:
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
        "missing": found.missing,
        "known": found.known,
    }
