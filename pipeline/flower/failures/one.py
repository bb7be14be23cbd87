"""The page of one failure: read, retry, edit, accept, discard, restore."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from tornado import web

from pipeline.billing.rules.pricing import Line
from pipeline.errors import PipelineError
from pipeline.failures import operator
from pipeline.failures.leafing import Beside, beside
from pipeline.failures.listing import FailureDetail, FailureFilter, read_failure, state_of_failure
from pipeline.failures.rules.differing import differing_fields
from pipeline.failures.rules.readable import readable, readable_request
from pipeline.failures.stakes import Stake, charge_to_come, stakes_of
from pipeline.flower.failures import filters, words
from pipeline.flower.failures.actions import LONGEST_REASON, act_on, asked_reason
from pipeline.flower.handlers import RefusalError, TabHandler, engine
from pipeline.lookup.history import history_of, sources_of
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.billing.rules.pricing import Uncharged
    from pipeline.errors import NoRateError
    from pipeline.lookup.rules.history import History


class Seen(NamedTuple):
    """A failure's page."""

    failure: FailureDetail
    call: History | None
    """What became of the call by now, if the record is one."""
    beside: Beside
    stake: Stake | None
    """Of an open conflict: what it is about in money."""
    coming: Line | Uncharged | NoRateError | None
    """What the call is just about to be charged; None when it has been, or waits for somebody."""


class DetailHandler(TabHandler):
    """One failure with all that is known of it."""

    @web.authenticated
    async def get(self, failure_id: str) -> None:
        """Show it."""
        await self.show(int(failure_id))

    async def show(
        self, failure_id: int, *, problem: str | None = None, at: str | None = None, draft: str | None = None
    ) -> None:
        """Show a failure, with what was wrong with an attempt at it: the action, and the text that was tried."""
        given = self.given(filters.NAMES)
        seen = await self.ask(lambda connection: _see(connection, failure_id, self._wanted(given)))
        if seen is None:
            raise RefusalError(404, f"There is no failure {failure_id}.")
        failure = seen.failure
        now = failure.edited or failure.raw or b""
        self.set_status(422 if problem else 200)
        self.render(
            "failed_call.html",
            given=given,
            query=filters.as_query(given),
            filter_in_words=filters.in_words(given, self.clock),
            words=words,
            versions={
                name: raw and readable(raw) for name in ("raw", "edited", "stored") for raw in [getattr(failure, name)]
            },
            differing=differing_fields(failure.stored, now) if failure.stored else [],
            draft=draft if draft is not None else _draft(now),
            is_text=_is_text(now),
            problem=problem,
            at=at,
            readable_request=readable_request,
            charged=Line,
            why_not=self.why_not,
            longest_reason=LONGEST_REASON,
            **seen._asdict(),
        )

    def _wanted(self, given: dict[str, str]) -> FailureFilter:
        """The list one came from; the one without a filter where that is none."""
        try:
            return filters.read_filter(given, self.clock)
        except filters.FilterError:
            return FailureFilter()


class StateHandler(TabHandler):
    """The state of one failure, for a page that waits for it to change."""

    @web.authenticated
    async def get(self, failure_id: str) -> None:
        """Answer with JSON: where the failure is, and whether its call is about to be charged."""

        def find(connection: Connection) -> dict[str, object]:
            found = state_of_failure(connection, int(failure_id))
            failure = None if found is None else read_failure(connection, int(failure_id))
            if found is None or failure is None:
                return {"state": None}
            call = _call_of(connection, failure)
            return {"state": found.state, "attempts": found.attempts, "charging": _is_being_charged(call)}

        self.write(await self.ask(find))


class ActHandler(DetailHandler):
    """One action on one failure."""

    @web.authenticated
    async def post(self, failure_id: str, action: str) -> None:
        """Do it, or say why not on the failure's page."""
        who, chosen = self.acting_person(), int(failure_id)
        draft = self.get_argument_as_typed("record") if action == "edit" else None
        try:
            reason = asked_reason(self, action)
            await self.in_a_thread(lambda: _act(action, chosen, who=who, reason=reason, draft=draft))
        except PipelineError as error:
            await self.show(chosen, problem=str(error), at=action, draft=draft)
            return
        query = filters.as_query(self.given(filters.NAMES))
        self.redirect(f"{self.reverse_url('failed_call', failure_id)}{'?' if query else ''}{query}")

    def get(self, *_: str) -> None:
        """Actions are asked for by POST only."""
        raise RefusalError(405, "This is done with the buttons of a failure's page.")


def _act(action: str, failure_id: int, *, who: str, reason: str, draft: str | None) -> None:
    if action == "edit":
        now, region = datetime.now(tz=UTC), current_settings().pipeline_region
        record = (draft or "").encode()
        operator.edit(engine(), failure_id, record, who=who, region=region, now=now)
    elif action == "accept":
        operator.accept(engine(), failure_id, who=who)
    elif action in ("retry", "discard", "restore"):
        wanted = FailureFilter(states=None, ids=(failure_id,))
        if not sum(act_on(action, wanted, who=who, reason=reason)):
            needed = "discarded" if action == "restore" else "open"
            raise operator.RefusedError(f"failure {failure_id} is no longer {needed}")


def _see(connection: Connection, failure_id: int, wanted: FailureFilter) -> Seen | None:
    failure = read_failure(connection, failure_id)
    if failure is None:
        return None
    call = _call_of(connection, failure)
    timezone = current_settings().pipeline_timezone
    stakes: list[Stake] = []
    if failure.failure_class == "conflict" and failure.state == "open":
        stakes = stakes_of(connection, FailureFilter(states=None, ids=(failure.id,)), timezone=timezone)
    coming = None
    if call is not None and _is_being_charged(call):
        coming = charge_to_come(connection, call.call._asdict(), timezone=timezone)
    return Seen(failure, call, beside(connection, wanted, failure.id), stakes[0] if stakes else None, coming)


def _call_of(connection: Connection, failure: FailureDetail) -> History | None:
    if failure.call_ref is None or failure.source not in sources_of(connection, failure.call_ref):
        return None
    return history_of(connection, failure.call_ref, failure.source)


def _is_being_charged(call: History | None) -> bool:
    """Whether a call has neither charge nor reason for none, and nothing of it waits for somebody."""
    if call is None or call.uncharged is not None or any(each.state in ("open", "discarded") for each in call.failures):
        return False
    return not call.charges or max(call.charges, key=lambda line: (line.revision, line.kind)).kind == "reversal"


def _draft(raw: bytes) -> str:
    """What the edit begins with: the record as it was last, laid out to be read."""
    return readable(raw) if _is_text(raw) else raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _is_text(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False
