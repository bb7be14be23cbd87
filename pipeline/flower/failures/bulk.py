"""One action on all failures that match a filter: asked for, confirmed, and watched while workers do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado import web

from pipeline.failures.bulk_rows import ask_for, read_bulk_action
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.failures.stats import failure_stats
from pipeline.flower.failures import filters
from pipeline.flower.failures.actions import LONGEST_REASON, asked_action, asked_reason
from pipeline.flower.handlers import RefusalError, TabHandler
from pipeline.tasks.failures import act_in_bulk

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.failures.bulk_rows import Action, BulkAction
    from pipeline.failures.stats import Stats

KINDS = 20


class BulkHandler(TabHandler):
    """One action on all failures that match a filter: first how many that are, then, confirmed, in the background."""

    @web.authenticated
    async def get(self) -> None:
        """Say how many match, and ask."""
        action, given, wanted = self._asked()

        def find(connection: Connection) -> tuple[int, Stats]:
            return count_failures(connection, wanted), failure_stats(connection, wanted, limit=KINDS)

        total, stats = await self.ask(find)
        self.render(
            "bulk_confirm.html",
            action=action,
            given=given,
            as_query=filters.as_query,
            total=total,
            stats=stats,
            why_not=self.why_not,
            longest_reason=LONGEST_REASON,
        )

    @web.authenticated
    async def post(self) -> None:
        """Write the choice down, wake a worker, and show how far it is."""
        who = self.acting_person()
        action, _, wanted = self._asked()
        reason = asked_reason(self, action) or None
        bulk_id = await self.ask(
            lambda connection: ask_for(connection, action, wanted, who=who, reason=reason),
            writes=True,
        )
        # Should the broker be away, the reconciler sends it later.
        await self.beside(lambda: act_in_bulk.send(bulk_id=bulk_id))
        self.redirect(self.reverse_url("failed_calls_progress", bulk_id))

    def _asked(self) -> tuple[Action, dict[str, str], FailureFilter]:
        given = self.given(filters.NAMES)
        try:
            return asked_action(self), given, filters.read_filter(given)._replace(states=("open",))
        except filters.FilterError as error:
            raise RefusalError(400, str(error)) from error


class ProgressHandler(TabHandler):
    """How far an action on many failures is."""

    @web.authenticated
    async def get(self, bulk_id: str) -> None:
        """Show it."""
        self.render("bulk_progress.html", bulk=await self.read(bulk_id))

    async def read(self, bulk_id: str) -> BulkAction:
        """The action of this id.

        Raises:
            RefusalError: there is none.
        """
        bulk = await self.ask(lambda connection: read_bulk_action(connection, int(bulk_id)))
        if bulk is None:
            raise RefusalError(404, f"There is no action {bulk_id}.")
        return bulk


class ProgressStateHandler(ProgressHandler):
    """How far an action on many failures is, for the page that shows it."""

    @web.authenticated
    async def get(self, bulk_id: str) -> None:
        """Answer with JSON."""
        bulk = await self.read(bulk_id)
        self.write(
            {
                "total": bulk.total,
                "looked_at": bulk.looked_at,
                "done": bulk.done,
                "share": bulk.share,
                "ended": bulk.ended_at is not None,
            }
        )
