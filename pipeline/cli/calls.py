"""``pipeline calls``: calls found by filter."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from pipeline.batches.completeness import complete_through
from pipeline.calls.rules.disposition import Disposition
from pipeline.cli import calls_archived
from pipeline.cli.common import AsJson, Campaign, FormatOption, Source, Utc, chosen, clock, database, time_option
from pipeline.cli.output import console, errors, print_csv, print_json, remark
from pipeline.cli.tables import Format, Table, counted
from pipeline.lookup.archived import only_archived
from pipeline.lookup.calls_csv import MOST_LINES, call_lines, heading
from pipeline.lookup.rules.call_filter import (
    CallFilter,
    ChargedIs,
    Cursor,
    Direction,
    FilterRefusedError,
    RecordingIs,
    number_forms,
)
from pipeline.lookup.search import stream_calls
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.instants import Clock
    from pipeline.lookup.found_calls import FoundCall
    from pipeline.lookup.search import CallPage


def _read_cursor(text: str) -> Cursor:
    try:
        return Cursor.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Text = str | None
CallRef = Annotated[Text, typer.Option(help="One call, by the dialler's reference.")]
ContactRef = Annotated[Text, typer.Option(help="Calls of one contact, by your own reference.")]
Number = Annotated[Text, typer.Option(help="Calls with one number, however it is written.")]
NumberEnds = Annotated[Text, typer.Option(help="With numbers that end with these digits, 4 or more.")]
Since = Annotated[datetime | None, time_option("Calls dialled at this time or later.")]
Until = Annotated[datetime | None, time_option("Calls dialled before this time.")]
Agent = Annotated[Text, typer.Option(help="One agent's, by the extension.")]
DialNumber = Annotated[Text, typer.Option(help="Calls from or to one of your own numbers.")]
Ended = Annotated[Disposition | None, typer.Option(help="Those that ended so.")]
OneDirection = Annotated[Direction | None, typer.Option(help="Those of one direction.")]
Recording = Annotated[RecordingIs | None, typer.Option(help="Those whose recording is there.")]
Charged = Annotated[ChargedIs | None, typer.Option(help="Whether they are charged.")]
WhyNot = Annotated[Text, typer.Option(help="Those that cost nothing for this reason, word for word.")]
After = Annotated[
    Cursor | None,
    typer.Option(help="Go on where a page before ended.", parser=_read_cursor, metavar="CURSOR", show_default=False),
]
Limit = Annotated[int, typer.Option(min=1, max=MOST_LINES, help="The most to show.")]


# long: most of it is its options
def calls(
    call_ref: CallRef = None,
    contact_ref: ContactRef = None,
    number: Number = None,
    number_ends: NumberEnds = None,
    since: Since = None,
    until: Until = None,
    source: Source = None,
    campaign: Campaign = None,
    agent: Agent = None,
    dial_number: DialNumber = None,
    disposition: Ended = None,
    direction: OneDirection = None,
    recording: Recording = None,
    charged: Charged = None,
    why_not: WhyNot = None,
    after: After = None,
    limit: Limit = 50,
    format_: FormatOption = Format.TABLE,
    *,
    utc: Utc = False,
    as_json: AsJson = False,
) -> None:
    """Find calls, the newest dialled first. Say --since, or name a call, a contact or a number.

    Exit code 0, whether there are any or not. How many there were is said at the end; of CSV on standard error, and
    without that the file is not whole.
    """
    format_, times = chosen(format_, as_json=as_json), clock(utc=utc)
    region = current_settings().pipeline_region
    wanted = CallFilter(
        call_ref=call_ref,
        contact_ref=contact_ref,
        numbers=None if number is None else number_forms(number, region),
        number_ends=number_ends,
        campaign=campaign,
        agent=agent,
        dial_numbers=None if dial_number is None else number_forms(dial_number, region),
        disposition=None if disposition is None else disposition.value,
        direction=direction,
        since=since,
        until=until,
        recording=recording,
        charged=charged,
        why_not=why_not,
        source=source,
    )
    with database() as engine, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _Answer(connection, wanted, times).write(format_, after, limit)


class _Answer:
    """The calls that match, as they are written."""

    def __init__(self, connection: Connection, wanted: CallFilter, times: Clock) -> None:
        self._connection = connection
        self._wanted = wanted
        self._times = times
        self._found = 0
        self._ends: Cursor | None = None

    def write(self, format_: Format, after: Cursor | None, limit: int) -> None:
        """Write them, and where they end."""
        through = complete_through(self._connection)
        pages = self._pages(after, limit)
        if format_ is Format.JSON:
            found = [_as_json(call) for page in pages for call in page.calls]
            print_json(
                {
                    "calls": found,
                    "after": self._ends and self._ends.text,
                    "complete_through": through,
                    "archived": calls_archived.as_json(only_archived(self._connection, self._wanted)),
                }
            )
            return
        if format_ is Format.CSV:
            print_csv(self._csv(pages))
            said = errors.print
        else:
            _show([call for page in pages for call in page.calls], self._times)
            said = remark
        more = f"; more there are with --after {self._ends.text}" if self._ends is not None else ""
        said(f"{counted(self._found, 'call')}, complete through {self._times.show(through)}{more}")
        for sentence in calls_archived.sentences(only_archived(self._connection, self._wanted)):
            said(sentence)

    def _pages(self, after: Cursor | None, limit: int) -> Iterator[CallPage]:
        try:
            for page in stream_calls(self._connection, self._wanted, limit=limit, after=after):
                self._found += len(page.calls)
                self._ends = page.older
                yield page
        except FilterRefusedError as error:
            name, problem = next(iter(error.problems.items()))
            raise typer.BadParameter(problem, param_hint=f"'--{_OPTIONS.get(name, name).replace('_', '-')}'") from None

    def _csv(self, pages: Iterator[CallPage]) -> Iterator[str]:
        zone = ZoneInfo(self._times.zone)
        for place, page in enumerate(pages):
            if not place:
                yield heading()
            yield from call_lines(page.calls, zone)


_OPTIONS = {"numbers": "number", "dial_numbers": "dial_number"}


def _as_json(call: FoundCall) -> dict[str, Any]:
    return {name: value for name, value in call._asdict().items() if name != "call_id"}


_COLUMNS = (
    *("dialled", "source", "call", "direction", "campaign", "contact", "agent", "number", "talk", "disposition"),
    *("recording", "charge"),
)


def _show(found: list[FoundCall], times: Clock) -> None:
    if not found:
        return
    table = Table(*_COLUMNS)
    for call in found:
        charge = f"{call.charge:,f} {call.currency}" if call.charge is not None else call.not_charged or "not yet"
        table.add_row(
            times.show(call.dialed_at), call.source, call.call_ref, call.direction, call.campaign_ref, call.contact_ref,
            call.agent, call.number, call.talk_seconds, call.disposition, call.recording, charge,
        )  # fmt: skip
    console.print(table)
