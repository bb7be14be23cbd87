"""One action on all failures that match a filter: asked for, confirmed, and watched while workers do it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, cast

from tornado import web

from pipeline.failures.bulk_rows import DONE, ask_for, open_to, read_bulk_action
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.failures.preview import Preview, preview_of
from pipeline.failures.rules.change import Change, problem_of
from pipeline.failures.rules.differing import differing_fields
from pipeline.failures.stakes import MOST, Total, stakes_of, total_of
from pipeline.failures.stats import Stats, failure_stats
from pipeline.flower.failures import filters, words
from pipeline.flower.failures.actions import LONGEST_REASON, NoReasonError, asked_action, asked_reason
from pipeline.flower.handlers import RefusalError, TabHandler
from pipeline.settings import current_settings
from pipeline.tasks.failures import act_in_bulk

if TYPE_CHECKING:
    from typing import Literal

    from sqlalchemy import Connection

    from pipeline.failures.bulk_rows import Action, BulkAction

KINDS = 20

TITLES: dict[Action, str] = {
    "retry": "Retry all that match",
    "discard": "Discard all that match",
    "restore": "Restore all that match",
    "accept": "Take the new version of all that match",
    "edit": "Edit all that match",
}


class Asked(NamedTuple):
    """What an action would be done to."""

    total: int
    stats: Stats
    money: Total | None
    preview: Preview | None


class BulkHandler(TabHandler):
    """One action on all failures that match a filter: first how many that are, then, confirmed, in the background."""

    @web.authenticated
    async def get(self) -> None:
        """Say how many match and what would become of them, and ask."""
        await self.show()

    async def show(self, *, reason_missing: str | None = None) -> None:
        """Ask; where a reason is missing, once more."""
        action, given, wanted = self._asked()
        change = self._change() if action == "edit" else None
        wrong = None if change is None else problem_of(change)
        previewed = None if wrong else change
        asked = await self.ask(lambda connection: _look(connection, action, wanted, previewed))
        self.set_status(422 if reason_missing or wrong else 200)
        self.render(
            "bulk_confirm.html",
            title=TITLES[action],
            action=action,
            given=given,
            filter_in_words=filters.in_words(given, self.clock),
            as_query=filters.as_query,
            differing=differing_fields,
            change=change,
            wrong=wrong,
            words=words,
            most=MOST,
            reason_missing=reason_missing,
            why_not=self.why_not,
            longest_reason=LONGEST_REASON,
            **asked._asdict(),
        )

    @web.authenticated
    async def post(self) -> None:
        """Write the choice down, wake a worker, and show how far it is."""
        who = self.acting_person()
        action, _, wanted = self._asked()
        change = self._change() if action == "edit" else None
        try:
            reason = asked_reason(self, action) or None
        except NoReasonError as error:
            await self.show(reason_missing=str(error))
            return
        if action == "edit" and (change is None or problem_of(change)):
            await self.show()
            return
        bulk_id = await self.ask(
            lambda connection: ask_for(connection, action, wanted, who=who, reason=reason, change=change),
            writes=True,
        )
        # Should the broker be away, the reconciler sends it later.
        await self.in_a_thread(lambda: act_in_bulk.send(bulk_id=bulk_id))
        self.redirect(self.reverse_url("failed_calls_progress", bulk_id))

    def _asked(self) -> tuple[Action, dict[str, str], FailureFilter]:
        given = self.given(filters.NAMES)
        try:
            action = asked_action(self)
            return action, given, open_to(action, filters.read_filter(given, self.clock))
        except filters.FilterError as error:
            raise RefusalError(400, str(error)) from error

    def _change(self) -> Change | None:
        kind = self.get_argument_as_typed("change")
        if kind not in ("rename", "set"):
            return None
        return Change(
            cast("Literal['rename', 'set']", kind),
            self.get_argument_as_typed("field"),
            self.get_argument_as_typed("to"),
        )


def _look(connection: Connection, action: Action, wanted: FailureFilter, change: Change | None) -> Asked:
    settings = current_settings()
    money = None
    if action == "accept":
        money = total_of(stakes_of(connection, wanted, timezone=settings.pipeline_timezone))
    preview = (
        None
        if change is None
        else preview_of(connection, wanted, change, region=settings.pipeline_region, now=datetime.now(tz=UTC))
    )
    return Asked(count_failures(connection, wanted), failure_stats(connection, wanted, limit=KINDS), money, preview)


class ProgressHandler(TabHandler):
    """How far an action on many failures is."""

    @web.authenticated
    async def get(self, bulk_id: str) -> None:
        """Show it."""
        bulk = await self.read(bulk_id)
        given = filters.as_given(bulk.wanted)
        left = {**given, "state": "discarded" if bulk.action == "restore" else "open"}
        now = {"discard": "discarded", "restore": "open"}.get(bulk.action)
        self.render(
            "bulk_progress.html",
            bulk=bulk,
            title=TITLES[bulk.action],
            done=DONE[bulk.action],
            filter_in_words=filters.in_words(given, self.clock),
            left=filters.as_query(left),
            now=now and filters.as_query({**given, "state": now}),
            back=filters.as_query({**given, "state": ""}),
        )

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
