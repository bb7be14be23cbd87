"""The month of a provider: its two sides, the classes of its run, and the disputes as a list and as a file."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from tornado import web
from tornado.iostream import StreamClosedError

from pipeline.accounts.reconcile_export import ROWS_AT_ONCE, heading, items_after, page_lines
from pipeline.accounts.reconcile_report import causes, class_lines, offset_said, sum_lines
from pipeline.accounts.reconcile_rows import NoSuchRunError, run_by_id
from pipeline.accounts.rules.hidden import hidden_cause
from pipeline.flower.accounts.asked import CLASSES, NAMES, as_query, read_asked
from pipeline.flower.accounts.bars import bars_of
from pipeline.flower.accounts.looked import find_run, look, sums, sums_of
from pipeline.flower.calls.reader import CallsHandler
from pipeline.flower.handlers import RefusalError, is_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from pipeline.accounts.reconcile_rows import Run
    from pipeline.flower.accounts.asked import Asked


class AccountsHandler(CallsHandler):
    """A page of the tab; numbers are for whom the tab "Calls" shows them to."""

    def read(self) -> tuple[Asked, dict[str, str]]:
        """What the address asks for, and what is wrong with it."""
        return read_asked(self.given(NAMES), self.clock.zone)

    def place(self) -> int:
        """The item that the page before ended with.

        Raises:
            RefusalError: the address names none.
        """
        after = self.get_argument_as_typed("after") or "0"
        if not is_id(after) or int(after) >= 2**31:
            raise RefusalError(400, "after is the number of an item, a whole number.")
        return int(after)


class MonthHandler(AccountsHandler):
    """A month of a provider."""

    @web.authenticated
    async def get(self) -> None:
        """Show it; of nothing in particular, the newest run."""
        (asked, problems), after = self.read(), self.place()
        if problems:
            said = "; ".join(f"{name} {problem}" for name, problem in problems.items())
            raise RefusalError(400, f"{said}.")
        zone, numbers = self.clock.zone, self.wall.numbers
        looked = await self.ask(lambda connection: look(connection, asked, after, zone=zone, numbers=numbers))
        margin = await self._sums(looked.asked.month)
        self.render(
            "accounts.html",
            classes=CLASSES,
            as_query=as_query,
            place=after,
            hidden_cause=hidden_cause,
            numbers=numbers,
            margin=margin,
            as_of=None if margin is None else datetime.fromisoformat(margin["as_of"]),
            **looked._asdict(),
            **(_about(looked.run, numbers=numbers) if looked.run is not None else {}),
        )

    async def _sums(self, month: str) -> dict[str, Any] | None:
        """Both sides of a month; None where they take longer than a page may."""
        zone = self.clock.zone
        try:
            return await sums_of(month).get(lambda: self.ask(lambda connection: sums(connection, month, zone)))
        except RefusalError:
            return None


def _about(run: Run, *, numbers: bool) -> dict[str, Any]:
    """What the page says of a run."""
    told = [
        (name, cause if numbers else hidden_cause(cause), items)
        for name, cause, items in causes(run)
        if cause is not None
    ]
    return {
        "lines_of_classes": [*class_lines(run), *sum_lines(run)],
        "bars": bars_of(run),
        "causes": told,
        "offset": offset_said(run),
        "zone": ZoneInfo(run.zone),
    }


class FileHandler(AccountsHandler):
    """The disputes of a run as CSV, as `pipeline reconcile export` writes them."""

    @web.authenticated
    async def get(self) -> None:
        """Send them page by page, in the memory of one."""
        asked, problems = self.read()
        run = None if problems else await self.ask(lambda connection: find_run(connection, asked))
        if run is None:
            raise RefusalError(404, "There is no run of that provider and month, or no such class.")
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="disputes.csv"')
        items = await self._items(run.id, asked, 0)
        self.write(heading())
        zone = ZoneInfo(run.zone)
        try:
            while items:
                self.write("".join(page_lines(items, zone)))
                await self.flush()
                items = await self._items(run.id, asked, items[-1]["item"])
        except StreamClosedError:
            return  # whoever asked has gone
        except RefusalError:
            # What was sent is a part, or of a run that another has taken the place of: not to be taken for the whole.
            self.request.connection.stream.close()

    async def _items(self, run_id: int, asked: Asked, after: int) -> list[Mapping[str, Any]]:
        numbers = self.wall.numbers

        def ask(connection: Connection) -> list[Mapping[str, Any]]:
            found = items_after(connection, run_id, asked.classes, after, ROWS_AT_ONCE, numbers=numbers)
            run_by_id(connection, run_id)
            return found

        try:
            return await self.ask(ask)
        except NoSuchRunError:
            raise RefusalError(404, "Another run has taken the place of this one: ask again.") from None
