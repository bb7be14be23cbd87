"""The tab "Pipeline": where every record is, what waits, how fast it moves, what stands in the way."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tornado import web

from pipeline.batches.progress import send_at_next_look
from pipeline.database.audit import record_action
from pipeline.flower import figures
from pipeline.flower.failures import words
from pipeline.flower.figures import SharedAnswer
from pipeline.flower.handlers import RefusalError, TabHandler
from pipeline.flower.task_errors import errors_of
from pipeline.logs.rules.visible import visible_values
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

WINDOWS: dict[str, timedelta | None] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "all": None,
}
"""What the balance can be of: what was received in this time."""

PLACES = {
    "received": "taken from the dialler's list",
    "processed": "a call that has all it is owed",
    "duplicate": "sent again with the same content",
    "quarantined": "cannot be read as a call, or differs from one that is stored",
    "failed": "a call that a step set aside, mostly for want of a rate",
    "discarded": "given up by a person",
    "pending": "on its way",
}
"""The lines of the balance, as a newcomer may read them."""

SOURCES = SharedAnswer(5.0)
MOVING: dict[str, SharedAnswer] = defaultdict(lambda: SharedAnswer(2.0))
WAITING: dict[str, SharedAnswer] = defaultdict(lambda: SharedAnswer(2.0))
BALANCES: dict[tuple[str, str], SharedAnswer] = defaultdict(lambda: SharedAnswer(10.0))
"""Each by its dialler, of which there are few; empty is all of them."""
COMPLETE: dict[str, SharedAnswer] = defaultdict(lambda: SharedAnswer(15.0))
COMPLETE_OVER = timedelta(days=7)
TRAFFIC: dict[str, SharedAnswer] = defaultdict(lambda: SharedAnswer(60.0))
TRAFFIC_OVER = timedelta(hours=47)
"""And the hour under way."""
RECORDINGS = SharedAnswer(15.0)


class OverviewHandler(TabHandler):
    """The page; its figures come by themselves."""

    @web.authenticated
    def get(self) -> None:
        """Show it."""
        self.render(
            "pipeline.html",
            windows=list(WINDOWS),
            places=PLACES,
            steps=words.STEPS,
            classes=words.CLASSES,
            zone=current_settings().pipeline_timezone,
            why_not=self.why_not,
        )


class FiguresHandler(TabHandler):
    """The page's figures, in parts that do not wait for each other."""

    @web.authenticated
    async def get(self) -> None:
        """Answer with JSON: the part named by ``of``, or with ``balance=WINDOW`` the balance of that time.

        ``source`` narrows each to one dialler.
        """
        source, part = self.get_argument_as_typed("source"), self.get_argument_as_typed("of")
        window = self.get_argument_as_typed("balance")
        known = (await SOURCES.get(lambda: self.ask(lambda connection: {"sources": figures.sources(connection)})))[
            "sources"
        ]
        if source and source not in known:
            raise RefusalError(404, "Nothing is known of a dialler of that name.")
        one = source or None
        if window:
            self.write(await self._balance(window, one))
        elif not part:
            answer = await MOVING[source].get(lambda: self.ask(lambda connection: self._moving(connection, one)))
            self.write(visible_values({**answer, "sources": known}))
        elif part == "waiting":
            self.write(await WAITING[source].get(lambda: self.in_a_thread(lambda: figures.waiting(one))))
        elif part == "recordings":
            self.write(visible_values(await RECORDINGS.get(lambda: self.in_a_thread(figures.recordings))))
        elif part == "completeness":
            since = datetime.now(tz=UTC) - COMPLETE_OVER
            answer = await COMPLETE[source].get(lambda: self.in_a_thread(lambda: figures.completeness(one, since)))
            self.write(visible_values(answer))
        elif part == "traffic":
            self.write(await TRAFFIC[source].get(lambda: self.in_a_thread(lambda: self._traffic(one))))
        else:
            raise RefusalError(400, "of is waiting, recordings, completeness or traffic.")

    @staticmethod
    def _traffic(source: str | None) -> dict[str, Any]:
        now = datetime.now(tz=UTC)
        since = now.replace(minute=0, second=0, microsecond=0) - TRAFFIC_OVER
        return figures.traffic(source, since, now, current_settings().pipeline_timezone)

    def _moving(self, connection: Connection, source: str | None) -> dict[str, Any]:
        answer = figures.moving(connection, source)
        if answer["standing"]:
            errors = errors_of(self.application.events.state, {batch["batch_id"] for batch in answer["standing"]})
            for batch in answer["standing"]:
                if error := errors.get(batch["batch_id"]):
                    batch["error"], batch["task_url"] = error.says, self.reverse_url("task", error.task_id)
        return answer

    async def _balance(self, window: str, source: str | None) -> dict[str, Any]:
        if window not in WINDOWS:
            raise RefusalError(400, f"balance is one of {', '.join(WINDOWS)}.")
        span = WINDOWS[window]
        since = None if span is None else datetime.now(tz=UTC) - span
        answer = BALANCES[window, source or ""]
        return await answer.get(lambda: self.in_a_thread(lambda: figures.balance(source, since)))


class SendAgainHandler(TabHandler):
    """A batch that stands still, sent again now rather than when its time comes."""

    @web.authenticated
    async def post(self, batch_id: str) -> None:
        """Have the reconciler do it at its next look."""
        who = self.acting_person()

        def send_again(connection: Connection) -> bool:
            found = send_at_next_look(connection, int(batch_id))
            if found:
                record_action(connection, who, "batch sent again", {"batch_id": int(batch_id)})
            return found

        if not await self.ask(send_again, writes=True):
            raise RefusalError(404, f"There is no unfinished batch {batch_id}: it has gone on, or was never there.")
        self.redirect(self.reverse_url("pipeline"))
