"""The tab "Failed calls": the list of what failed, and what is done to those ticked in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tornado import web

from pipeline.batches.sources import known_sources
from pipeline.failures.bulk_rows import DONE, recent_bulk_actions
from pipeline.failures.leafing import Page, page_failures
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.failures.stats import Stats, failure_stats
from pipeline.feed.subscribers import names_of_subscribers
from pipeline.flower.failures import filters, words
from pipeline.flower.failures.actions import LONGEST_REASON, NoReasonError, act_on, asked_of_some, asked_reason
from pipeline.flower.handlers import RefusalError, TabHandler, is_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from pipeline.failures.bulk_rows import BulkAction

PAGE = 50
KINDS = 12


class Listed(NamedTuple):
    """What the list shows."""

    page: Page
    total: int
    stats: Stats
    sources: list[str]
    subscribers: list[str]
    bulk_actions: list[BulkAction]


class ListHandler(TabHandler):
    """Failures by filter and page."""

    @web.authenticated
    async def get(self) -> None:
        """Show a page of the failures that match."""
        await self.show()

    # long: most of it is what the page is given
    async def show(self, *, reason_missing: str | None = None, ticked: Collection[int] = ()) -> None:
        """Show the list; where a reason is missing, with what was ticked when it was."""
        given = self.given(filters.NAMES)
        problems: Mapping[str, str] = {}
        wanted: FailureFilter | None = None
        try:
            wanted = filters.read_filter(given, self.clock)
        except filters.FilterError as error:
            problems = error.problems
        place = {"before": self.id_given("before"), "after": self.id_given("after")}
        listed = await self.ask(lambda connection: _find(connection, wanted, **place))
        self.set_status(400 if problems else 422 if reason_missing else 200)
        states = ("open", "discarded") if wanted is None or wanted.states is None else wanted.states
        self.render(
            "failed_calls.html",
            given=given,
            fields=filters.as_fields(given, self.clock),
            problems=problems,
            choices=filters.CHOICES,
            labels=filters.LABELS,
            as_query=filters.as_query,
            words=words,
            why_not=self.why_not,
            notice=self._notice(),
            reason_missing=reason_missing,
            ticked=ticked,
            place=place,
            can_act={"open": "open" in states, "discarded": "discarded" in states},
            longest_reason=LONGEST_REASON,
            **listed._asdict(),
        )

    def _notice(self) -> str | None:
        """What the action before this page did: never a text out of the address."""
        did, count = self.get_argument_as_typed("did"), self.id_given("count")
        done = {action: done for action, done in DONE.items() if action == did}
        if not done or count is None:
            return None
        return f"{count} {'failure' if count == 1 else 'failures'} {done.popitem()[1]}."


def _find(connection: Connection, wanted: FailureFilter | None, **place: int | None) -> Listed:
    sources, names = known_sources(connection), names_of_subscribers(connection)
    recent = recent_bulk_actions(connection, limit=5)
    if wanted is None:  # what nobody asked for is not offered to be acted on
        return Listed(Page([], newer=False, older=False), 0, Stats([], 0), sources, names, recent)
    return Listed(
        page_failures(connection, wanted, limit=PAGE, **place),
        count_failures(connection, wanted),
        failure_stats(connection, wanted, limit=KINDS),
        sources,
        names,
        recent,
    )


class SelectedHandler(ListHandler):
    """One action on the failures ticked in the list."""

    def get(self) -> None:
        """Actions are asked for by POST only."""
        raise RefusalError(405, "This is done with the buttons of the list.")

    @web.authenticated
    async def post(self) -> None:
        """Do it, and go back to the list."""
        who = self.acting_person()
        action = asked_of_some(self)
        values = [value.decode("utf-8", "replace") for value in self.request.body_arguments.get("id", [])]
        if not values or len(values) > PAGE or not all(is_id(value) for value in values):
            raise RefusalError(400, "Tick the failures in the list first.")
        ids = tuple(int(value) for value in values)
        try:
            reason = asked_reason(self, action)
        except NoReasonError as error:
            await self.show(reason_missing=str(error), ticked=ids)
            return
        wanted = FailureFilter(states=None, ids=ids)
        count = await self.in_a_thread(lambda: sum(act_on(action, wanted, who=who, reason=reason)))
        query = filters.as_query(self.given(filters.NAMES), did=action, count=count)
        self.redirect(f"{self.reverse_url('failed_calls')}?{query}")
