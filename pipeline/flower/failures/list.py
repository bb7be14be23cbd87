"""The tab "Failed calls": the list of what failed, and what is done to those ticked in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tornado import web

from pipeline.batches.sources import known_sources
from pipeline.failures.bulk_rows import recent_bulk_actions
from pipeline.failures.leafing import page_failures
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.failures.stats import failure_stats
from pipeline.flower.failures import filters
from pipeline.flower.failures.actions import DONE, LONGEST_REASON, act_on, asked_action, asked_reason
from pipeline.flower.handlers import RefusalError, TabHandler, is_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.failures.bulk_rows import BulkAction
    from pipeline.failures.leafing import Page
    from pipeline.failures.stats import Stats

PAGE = 50
KINDS = 12


class Listed(NamedTuple):
    """What the list shows."""

    page: Page
    total: int
    stats: Stats
    sources: list[str]
    bulk_actions: list[BulkAction]


class ListHandler(TabHandler):
    """Failures by filter and page."""

    @web.authenticated
    async def get(self) -> None:
        """Show a page of the failures that match."""
        given = self.given(filters.NAMES)
        problem, wanted = None, FailureFilter()
        try:
            wanted = filters.read_filter(given)
        except filters.FilterError as error:
            problem = str(error)
        before, after = self.id_given("before"), self.id_given("after")

        def find(connection: Connection) -> Listed:
            return Listed(
                page_failures(connection, wanted, limit=PAGE, before=before, after=after),
                count_failures(connection, wanted),
                failure_stats(connection, wanted, limit=KINDS),
                known_sources(connection),
                recent_bulk_actions(connection, limit=5),
            )

        listed = await self.ask(find)
        self.set_status(400 if problem else 200)
        self.render(
            "failed_calls.html",
            given=given,
            problem=problem,
            choices=filters.CHOICES,
            as_query=filters.as_query,
            why_not=self.why_not,
            notice=self._notice(),
            longest_reason=LONGEST_REASON,
            **listed._asdict(),
        )

    def _notice(self) -> str | None:
        """What the action before this page did: never a text out of the address."""
        action, count = self.get_argument_as_typed("did"), self.id_given("count")
        if action not in DONE or count is None:
            return None
        return f"{count} {'failure' if count == 1 else 'failures'} {DONE[action]}."


class SelectedHandler(TabHandler):
    """One action on the failures ticked in the list."""

    @web.authenticated
    async def post(self) -> None:
        """Do it, and go back to the list."""
        who = self.acting_person()
        action = asked_action(self)
        values = [value.decode("utf-8", "replace") for value in self.request.body_arguments.get("id", [])]
        if not values or len(values) > PAGE or not all(is_id(value) for value in values):
            raise RefusalError(400, "Tick the failures in the list first.")
        reason = asked_reason(self, action)
        wanted = FailureFilter(states=("open",), ids=tuple(int(value) for value in values))
        count = await self.beside(lambda: sum(act_on(action, wanted, who=who, reason=reason)))
        query = filters.as_query(self.given(filters.NAMES), did=action, count=count)
        self.redirect(f"{self.reverse_url('failed_calls')}?{query}")
