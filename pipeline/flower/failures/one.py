"""The page of one failure: read, retry, edit, accept, discard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tornado import web

from pipeline.errors import PipelineError
from pipeline.failures import operator
from pipeline.failures.listing import FailureFilter, read_failure, state_of_failure
from pipeline.failures.rules.readable import readable
from pipeline.flower.failures.actions import LONGEST_REASON, act_on
from pipeline.flower.failures.versions import differing_lines
from pipeline.flower.handlers import RefusalError, TabHandler, engine
from pipeline.lookup.history import history_of, sources_of
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.failures.listing import FailureDetail
    from pipeline.lookup.history import History


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


class DetailHandler(TabHandler):
    """One failure with all that is known of it."""

    @web.authenticated
    async def get(self, failure_id: str) -> None:
        """Show it."""
        await self.show(int(failure_id))

    async def show(self, failure_id: int, *, problem: str | None = None, draft: str | None = None) -> None:
        """Show a failure, with what was wrong with an attempt at it and the text that was tried."""

        def find(connection: Connection) -> tuple[FailureDetail | None, History | None]:
            failure = read_failure(connection, failure_id)
            return failure, None if failure is None else _call_of(connection, failure)

        failure, call = await self.ask(find)
        if failure is None:
            raise RefusalError(404, f"There is no failure {failure_id}.")
        versions = {"raw": failure.raw, "edited": failure.edited, "stored": failure.stored}
        raw = {name: None if record is None else readable(record) for name, record in versions.items()}
        self.set_status(422 if problem else 200)
        self.render(
            "failed_call.html",
            failure=failure,
            call=call,
            versions=raw,
            differing=differing_lines(raw["stored"], raw["edited"] or raw["raw"] or "") if raw["stored"] else [],
            draft=draft if draft is not None else _draft(failure),
            is_text=_is_text(failure.edited or failure.raw or b""),
            advice=ADVICE[failure.failure_class],
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


def _act(action: str, failure_id: int, *, who: str, reason: str, draft: str | None) -> None:
    if action == "edit":
        now, region = datetime.now(tz=UTC), current_settings().pipeline_region
        record = (draft or "").encode()
        operator.edit(engine(), failure_id, record, who=who, region=region, now=now)
    elif action == "accept":
        operator.accept(engine(), failure_id, who=who)
    else:
        if action == "discard" and not reason:
            raise operator.RefusedError("give a reason: it is kept with what is discarded")
        wanted = FailureFilter(states=("open",), ids=(failure_id,))
        if not sum(act_on(action, wanted, who=who, reason=reason)):
            raise operator.RefusedError(f"failure {failure_id} is no longer open")


def _call_of(connection: Connection, failure: FailureDetail) -> History | None:
    """What became of the call by now, if the record is one."""
    call_ref, source = failure.call_ref, failure.source
    if call_ref is None or source not in sources_of(connection, call_ref):
        return None
    return history_of(connection, call_ref, source)


def _draft(failure: FailureDetail) -> str:
    """What the edit begins with: the record as it was last, laid out to be read."""
    raw = failure.edited or failure.raw or b""
    return readable(raw) if _is_text(raw) else raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _is_text(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False
