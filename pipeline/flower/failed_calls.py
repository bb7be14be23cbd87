"""The tab "Failed calls": find, read, retry, edit, accept, discard; one, some, or all that match."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tornado import web

from pipeline.domain.errors import PipelineError
from pipeline.flower import filters
from pipeline.flower.handlers import RefusalError, TabHandler, engine, is_id
from pipeline.flower.versions import differing_lines
from pipeline.settings import current_settings
from pipeline.steps import operator
from pipeline.storage.backlog import sources_known
from pipeline.storage.bulk_actions import ask_for, read_bulk_action, recent_bulk_actions
from pipeline.storage.explanations import explain, sources_of
from pipeline.storage.failure_list import (
    FailureFilter,
    count_failures,
    failure_stats,
    page_failures,
    read_failure,
    state_of_failure,
)
from pipeline.tasks import act_in_bulk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from pipeline.storage.bulk_actions import Action, BulkAction
    from pipeline.storage.failure_list import Page

PAGE = 50
LONGEST_REASON = 500

ADVICE = {
    "data": "The record is wrong and will fail again as it is. Edit it into what it should have been, or discard it.",
    "conflict": (
        "The dialler sent this call before with other content. Accept this version, which reverses the charge and "
        "makes a new one, or discard it and keep the stored one."
    ),
    "reference": (
        "Something the step needs is not there yet, most often a rate. Load or assign the right tariff: "
        "it is then tried again by itself."
    ),
    "bug": "The pipeline itself failed. It is tried again by itself a few times; the traceback says where to look.",
}
"""What to do about each class of failure."""

DONE: dict[Action, str] = {"retry": "released to be tried again", "discard": "discarded"}
"""What can be done to many failures at once, and what it then is."""


class Listed(NamedTuple):
    """What the list shows."""

    page: Page
    total: int
    stats: list[dict[str, Any]]
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
                failure_stats(connection, wanted),
                sources_known(connection),
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


class DetailHandler(TabHandler):
    """One failure with all that is known of it."""

    @web.authenticated
    async def get(self, failure_id: str) -> None:
        """Show it."""
        await self.show(int(failure_id))

    async def show(self, failure_id: int, *, problem: str | None = None, draft: str | None = None) -> None:
        """Show a failure, with what was wrong with an attempt at it and the text that was tried."""

        def find(connection: Connection) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
            failure = read_failure(connection, failure_id)
            return failure, None if failure is None else _call_of(connection, failure)

        failure, call = await self.ask(find)
        if failure is None:
            raise RefusalError(404, f"There is no failure {failure_id}.")
        raw = {name: failure[name] and operator.readable(failure[name]) for name in ("raw", "edited", "stored")}
        self.set_status(422 if problem else 200)
        self.render(
            "failed_call.html",
            failure=failure,
            call=call,
            versions=raw,
            differing=differing_lines(raw["stored"], raw["edited"] or raw["raw"]) if raw["stored"] else [],
            draft=draft if draft is not None else _draft(failure),
            is_text=_is_text(failure["edited"] or failure["raw"] or b""),
            advice=ADVICE[failure["class"]],
            problem=problem,
            why_not=self.why_not,
            longest_reason=LONGEST_REASON,
        )


class StateHandler(TabHandler):
    """The state of one failure, for a page that waits for it to change."""

    @web.authenticated
    async def get(self, failure_id: str) -> None:
        """Answer with JSON."""
        found = await self.ask(lambda connection: state_of_failure(connection, int(failure_id)))
        self.write({"state": found.state, "attempts": found.attempts} if found else {"state": None})


class ActHandler(DetailHandler):
    """One action on one failure."""

    @web.authenticated
    async def post(self, failure_id: str, action: str) -> None:
        """Do it, or say why not on the failure's page."""
        who, chosen = self.acting_person(), int(failure_id)
        draft = self.get_argument_as_typed("record") if action == "edit" else None
        reason = self.get_argument_as_typed("reason")[:LONGEST_REASON]
        try:
            await self.beside(lambda: _act(action, chosen, who=who, reason=reason, draft=draft))
        except PipelineError as error:
            await self.show(chosen, problem=str(error), draft=draft)
            return
        self.redirect(self.reverse_url("failed_call", failure_id))

    def get(self, *_: str) -> None:
        """Actions are asked for by POST only."""
        raise RefusalError(405, "This is done with the buttons of a failure's page.")


class SelectedHandler(TabHandler):
    """One action on the failures ticked in the list."""

    @web.authenticated
    async def post(self) -> None:
        """Do it, and go back to the list."""
        who = self.acting_person()
        action = _action(self)
        reason = self.get_argument_as_typed("reason")[:LONGEST_REASON]
        values = [value.decode("utf-8", "replace") for value in self.request.body_arguments.get("id", [])]
        if not values or len(values) > PAGE or not all(is_id(value) for value in values):
            raise RefusalError(400, "Tick the failures in the list first.")
        if action == "discard" and not reason:
            raise RefusalError(400, "Give a reason: it is kept with what is discarded.")
        wanted = FailureFilter(states=("open",), ids=tuple(int(value) for value in values))
        count = await self.beside(lambda: sum(_do(action, wanted, who=who, reason=reason)))
        query = filters.as_query(self.given(filters.NAMES), did=action, count=count)
        self.redirect(f"{self.reverse_url('failed_calls')}?{query}")


class BulkHandler(TabHandler):
    """One action on all failures that match a filter: first how many that are, then, confirmed, in the background."""

    @web.authenticated
    async def get(self) -> None:
        """Say how many match, and ask."""
        action, given, wanted = self._asked()

        def find(connection: Connection) -> tuple[int, list[dict[str, Any]]]:
            return count_failures(connection, wanted), failure_stats(connection, wanted)

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
        reason = self.get_argument_as_typed("reason")[:LONGEST_REASON] or None
        if action == "discard" and reason is None:
            raise RefusalError(400, "Give a reason: it is kept with what is discarded.")
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
            return _action(self), given, filters.read_filter(given)._replace(states=("open",))
        except filters.FilterError as error:
            raise RefusalError(400, str(error)) from error


class ProgressHandler(TabHandler):
    """How far an action on many failures is."""

    @web.authenticated
    async def get(self, bulk_id: str) -> None:
        """Show it."""
        bulk = await self.ask(lambda connection: read_bulk_action(connection, int(bulk_id)))
        if bulk is None:
            raise RefusalError(404, f"There is no action {bulk_id}.")
        self.render("bulk_progress.html", bulk=bulk)


class ProgressStateHandler(TabHandler):
    """How far an action on many failures is, for the page that shows it."""

    @web.authenticated
    async def get(self, bulk_id: str) -> None:
        """Answer with JSON."""
        bulk = await self.ask(lambda connection: read_bulk_action(connection, int(bulk_id)))
        if bulk is None:
            raise RefusalError(404, f"There is no action {bulk_id}.")
        self.write(
            {
                "total": bulk.total,
                "looked_at": bulk.looked_at,
                "done": bulk.done,
                "share": bulk.share,
                "ended": bulk.ended_at is not None,
            }
        )


def _action(handler: TabHandler) -> Action:
    for action in DONE:
        if action == handler.get_argument_as_typed("action"):
            return action
    raise RefusalError(400, "Choose retry or discard.")


def _do(action: str, wanted: FailureFilter, *, who: str, reason: str) -> Iterator[int]:
    if action == "retry":
        return operator.retry(engine(), wanted, who=who, reason=reason or None)
    return operator.discard(engine(), wanted, who=who, reason=reason)


def _act(action: str, failure_id: int, *, who: str, reason: str, draft: str | None) -> None:
    now, region = datetime.now(tz=UTC), current_settings().pipeline_region
    if action == "edit":
        record = (draft or "").encode()
        operator.edit(engine(), failure_id, record, who=who, region=region, now=now)
    elif action == "accept":
        operator.accept(engine(), failure_id, who=who, region=region, now=now)
    else:
        if action == "discard" and not reason:
            raise operator.RefusedError("give a reason: it is kept with what is discarded")
        wanted = FailureFilter(states=("open",), ids=(failure_id,))
        if not sum(_do(action, wanted, who=who, reason=reason)):
            raise operator.RefusedError(f"failure {failure_id} is no longer open")


def _call_of(connection: Connection, failure: dict[str, Any]) -> dict[str, Any] | None:
    """What became of the call by now, if the record is one."""
    call_ref, source = failure["call_ref"], failure["source"]
    if call_ref is None or source not in sources_of(connection, call_ref):
        return None
    return explain(connection, call_ref, source)


def _draft(failure: dict[str, Any]) -> str:
    """What the edit begins with: the record as it was last, laid out to be read."""
    raw: bytes = failure["edited"] or failure["raw"] or b""
    return operator.readable(raw) if _is_text(raw) else raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _is_text(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False
