"""The list of calls: by filter and page, and as a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from tornado import web
from tornado.iostream import StreamClosedError

from pipeline.batches.completeness import complete_through
from pipeline.batches.sources import known_sources
from pipeline.flower.calls import filters
from pipeline.flower.calls.reader import CallsHandler
from pipeline.flower.handlers import RefusalError
from pipeline.lookup.archived import only_archived
from pipeline.lookup.calls_csv import MOST_LINES, call_lines, heading
from pipeline.lookup.rules.call_filter import CHOICES, CallFilter, FilterRefusedError, Wall
from pipeline.lookup.search import MOST, STREAMED, CallPage, Count, count_calls, search_calls
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.lookup.archived import OnlyArchived
    from pipeline.lookup.rules.call_filter import Cursor

PAGE = 50


class Listed(NamedTuple):
    """What the list shows."""

    page: CallPage
    counted: Count
    through: datetime
    sources: list[str]
    archived: list[OnlyArchived]
    """What it cannot show, for the database has it no longer."""


class ListHandler(CallsHandler):
    """Calls by filter and page."""

    @web.authenticated
    async def get(self) -> None:
        """Show a page of the calls that match; where nothing is asked for, of those dialled today."""
        given = self.asked()
        wanted, problems = self.read(given)
        after, before = self.cursor_given("after"), self.cursor_given("before")
        wall = self.wall
        if wanted is not None:
            await self.note_search(wanted)
        listed = await self.ask(lambda connection: _find(connection, wanted, wall, after, before))
        self.set_status(400 if problems else 200)
        self.render(
            "calls.html",
            given=given,
            fields=filters.as_fields(given, self.clock),
            problems=problems,
            choices=CHOICES,
            labels=filters.LABELS,
            as_query=filters.as_query,
            numbers=wall.numbers,
            most=MOST,
            most_lines=MOST_LINES,
            place=after or before,
            **listed._asdict(),
        )

    def asked(self) -> dict[str, str]:
        """The filter in the address; of an address without one, all that was dialled today."""
        given = self.given(filters.NAMES)
        if not any(given.values()):
            today = datetime.now(tz=UTC).astimezone(ZoneInfo(self.clock.zone)).replace(hour=0, minute=0, second=0)
            given["since"] = self.clock.typed(today)
        return given

    def read(self, given: dict[str, str]) -> tuple[CallFilter | None, dict[str, str]]:
        """The filter, or what is wrong with it by field."""
        region = current_settings().pipeline_region
        try:
            return filters.read_filter(given, self.clock, self.wall, region=region), {}
        except FilterRefusedError as error:
            return None, dict(error.problems)


def _find(
    connection: Connection, wanted: CallFilter | None, wall: Wall, after: Cursor | None, before: Cursor | None
) -> Listed:
    through, sources = complete_through(connection), known_sources(connection)
    if wanted is None:
        return Listed(CallPage([], None, None), Count(0, and_more=False), through, sources, [])
    page = search_calls(connection, wanted, wall, limit=PAGE, after=after, before=before)
    counted = count_calls(connection, wanted, wall, seconds=1)
    return Listed(page, counted, through, sources, only_archived(connection, wanted, wall))


class FileHandler(ListHandler):
    """All calls that match, as CSV."""

    @web.authenticated
    async def get(self) -> None:
        """Send them page by page: as many as a spreadsheet takes, in the memory of one page."""
        wanted, problems = self.read(self.asked())
        if wanted is None:
            raise RefusalError(400, "; ".join(f"{name} {problem}" for name, problem in problems.items()) + ".")
        await self.note_search(wanted)
        page = await self._page(wanted, None, STREAMED)
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="calls.csv"')
        self.write(heading())
        zone, left = ZoneInfo(self.clock.zone), MOST_LINES
        try:
            while True:
                self.write("".join(call_lines(page.calls, zone)))
                await self.flush()
                left -= len(page.calls)
                if page.older is None or left <= 0:
                    return
                page = await self._page(wanted, page.older, min(STREAMED, left))
        except StreamClosedError:
            return  # whoever asked has gone
        except RefusalError:
            # What was sent is a part: the browser must not take it for the whole.
            self.request.connection.stream.close()

    async def _page(self, wanted: CallFilter, after: Cursor | None, limit: int) -> CallPage:
        wall = self.wall
        return await self.ask(lambda connection: search_calls(connection, wanted, wall, limit=limit, after=after))
