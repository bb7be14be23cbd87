"""The tab "Pipeline": where every record is, what waits, how fast it moves, what stands in the way."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from tornado import web

from pipeline.balance.sheet import balance_sheet
from pipeline.batches.backlog import BUCKET_SECONDS, backlog, standing_batches, throughput
from pipeline.batches.progress import send_at_next_look
from pipeline.batches.rules.steps import Step
from pipeline.database.audit import record_action
from pipeline.flower.handlers import RefusalError, TabHandler, engine
from pipeline.ingest.stops import standing_stops
from pipeline.logs.rules.visible import visible_values
from pipeline.recordings.listing import recordings_by_state
from pipeline.recordings.pauses import standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

WINDOWS: dict[str, timedelta | None] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "all": None,
}
"""What the balance can be of: what was received in this time."""

BALANCE_SECONDS = 120
"""The longest a balance may take."""


class SharedAnswer:
    """An answer that is shown to everybody who asks, and asked for anew only after a while.

    A costly question is asked by one at a time, and rests ten times as long as it took: watching costs the database a
    tenth of one core at most.

    Args:
        seconds: how long an answer is good for at least.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answer: dict[str, Any] | None = None
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def get(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """The answer, at most as old as it may be; ``ask`` finds a new one."""
        async with self._lock:
            if self._answer is None or time.monotonic() >= self._good_until:
                began = time.monotonic()
                self._answer = await ask() | {"as_of": datetime.now(tz=UTC).isoformat()}
                ended = time.monotonic()
                self._good_until = ended + max(self._seconds, 10 * (ended - began))
            return self._answer


MOVING = SharedAnswer(2.0)
RECORDINGS = SharedAnswer(15.0)
BALANCES = {window: SharedAnswer(10.0) for window in WINDOWS}


class OverviewHandler(TabHandler):
    """The page; its figures come by themselves."""

    @web.authenticated
    def get(self) -> None:
        """Show it."""
        self.render("pipeline.html", windows=list(WINDOWS), steps=[step.value for step in Step], why_not=self.why_not)


class FiguresHandler(TabHandler):
    """The page's figures."""

    @web.authenticated
    async def get(self) -> None:
        """Answer with JSON: what moves, or with ``balance=WINDOW`` the balance of what was received in that time."""
        window = self.get_argument_as_typed("balance")
        if not window:
            moving = await MOVING.get(lambda: self.ask(_moving))
            recordings = await RECORDINGS.get(lambda: self.ask(_recordings))
            self.write(visible_values(moving) | {"recordings": recordings["recordings"]})
        elif window in WINDOWS:
            span = WINDOWS[window]
            since = None if span is None else datetime.now(tz=UTC) - span
            self.write(await BALANCES[window].get(lambda: self.beside(lambda: _balance(since))))
        else:
            raise RefusalError(400, f"balance is one of {', '.join(WINDOWS)}.")


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
            raise RefusalError(404, f"There is no unfinished batch {batch_id}.")
        self.redirect(self.reverse_url("pipeline"))


def _moving(connection: Connection) -> dict[str, Any]:
    now = datetime.now(tz=UTC)
    moved = throughput(connection)
    waits = backlog(connection)
    return {
        "waiting": waits.records,
        "backlog": [
            {
                "step": waiting.step,
                "batches": waiting.batches,
                "records": waiting.records,
                "oldest_seconds": max(0.0, (now - waiting.oldest_at).total_seconds()),
            }
            for waiting in waits.steps
        ],
        "standing": [
            {**batch._asdict(), "due_at": batch.due_at.isoformat()} for batch in standing_batches(connection, limit=20)
        ],
        "received": moved.received,
        "finished": moved.finished,
        "bucket_seconds": BUCKET_SECONDS,
        "stops": [
            {"source": stop.source, "kind": stop.kind, "reason": stop.reason} for stop in standing_stops(connection)
        ],
        "pauses": [
            {"source": pause.source, "kind": str(pause.kind), "reason": pause.reason, "until": pause.until.isoformat()}
            for pause in standing(connection)
        ],
    }


def _recordings(connection: Connection) -> dict[str, Any]:
    return {"recordings": recordings_by_state(connection)}


def _balance(since: datetime | None) -> dict[str, Any]:
    with engine().connect() as connection:
        connection.execute(text(f"SET statement_timeout = '{BALANCE_SECONDS}s'"))
        connection.commit()
        try:
            return balance_sheet(connection, since=since).as_dict()
        finally:
            connection.execute(text("RESET statement_timeout"))
            connection.commit()
