"""What the tab "Pipeline" shows: questions to the database, each answered once for everybody who watches."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import text

from pipeline.balance.sheet import balance_sheet
from pipeline.batches.backlog import BUCKET_SECONDS, backlog, count_standing, standing_batches, throughput
from pipeline.batches.rules.failure import FailureClass
from pipeline.batches.sources import known_sources
from pipeline.billing.billed_calls import Selection
from pipeline.completeness.report import report
from pipeline.doctor.rules.processes import PAUSED, remedy_of
from pipeline.failures.both import DELIVERY
from pipeline.failures.listing import FailureFilter, count_failures
from pipeline.flower.handlers import engine
from pipeline.ingest.stops import standing_stops
from pipeline.lookup.rules.hours import hourly
from pipeline.lookup.rules.traffic import NO_TRAFFIC, Kind
from pipeline.lookup.traffic_report import TrafficBy, traffic_by
from pipeline.monitoring.heartbeats import INGESTOR, RECONCILER, signs_of
from pipeline.recordings.listing import queue_status
from pipeline.recordings.pauses import standing
from pipeline.recordings.verification_rows import last_verifications

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

LONG_SECONDS = 120
"""The longest that what reads whole tables may take."""

QUIET_SECONDS = 60
"""Signs of life come every few seconds; an outage may hold one up for half a minute."""

STANDING = 20
"""The most batches to list that stand still."""


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

    def forget(self) -> None:
        """The next one who asks gets a new answer."""
        self._good_until = 0.0


def sources(connection: Connection) -> list[str]:
    """Every dialler there is anything to say of: one whose ingestor stopped at once has sent nothing."""
    found = {*known_sources(connection), *(stop.source for stop in standing_stops(connection))}
    return sorted(found | {pause.source for pause in standing(connection)})


def moving(connection: Connection, source: str | None) -> dict[str, Any]:
    """What changes by the second, and what stands in the way, of one dialler or of all: few rows are read."""
    moved = throughput(connection, source=source)
    return {
        "standing": [
            {**batch._asdict(), "due_at": batch.due_at.isoformat()}
            for batch in standing_batches(connection, limit=STANDING, source=source)
        ],
        "standing_in_all": count_standing(connection, source=source),
        "received": moved.received,
        "finished": moved.finished,
        "bucket_seconds": BUCKET_SECONDS,
        "failures": {
            each: count_failures(
                connection, FailureFilter(states=("open", "retrying"), failure_class=each, source=source)
            )
            for each in (*get_args(FailureClass), DELIVERY)
        },
        **_in_the_way(connection, source),
    }


def _in_the_way(connection: Connection, source: str | None) -> dict[str, Any]:
    """Stops and pauses, and processes that show no sign of life."""
    stops = [stop for stop in standing_stops(connection) if source in {None, stop.source}]
    return {
        "stops": [
            {
                "source": stop.source,
                "kind": stop.kind,
                "reason": stop.reason,
                "since": stop.stopped_at.isoformat(),
                "remedy": remedy_of(stop.kind, stop.source),
            }
            for stop in stops
        ],
        "pauses": [
            {
                "source": pause.source,
                "kind": str(pause.kind),
                "reason": pause.reason,
                "since": pause.since.isoformat(),
                "until": pause.until.isoformat(),
                "failed_probes": pause.failed_probes,
                "remedy": PAUSED[pause.kind],
            }
            for pause in standing(connection, source)
        ],
        "quiet": [
            {"name": sign.name, "source": sign.source, "who": sign.who, "seconds": sign.seconds_ago}
            for name in (RECONCILER, INGESTOR)
            for sign in signs_of(connection, name)
            if sign.seconds_ago > QUIET_SECONDS and source in {None, sign.source or source}
        ],
    }


def waiting(source: str | None) -> dict[str, Any]:
    """What waits for each step: dear when thousands of batches were opened again, so it may take its time."""
    with engine().begin() as connection:
        _take_time(connection)
        whole, steps = backlog(connection, source=source)
        now = connection.execute(text("SELECT now()")).scalar_one()
    return {
        "waiting": whole,
        "steps": [
            {
                "step": each.step,
                "batches": each.batches,
                "records": each.records,
                "oldest_seconds": max(0.0, (now - each.oldest_at).total_seconds()),
            }
            for each in steps
        ],
    }


def recordings() -> dict[str, Any]:
    """Each dialler's recordings, and what became of reading its files again."""
    with engine().begin() as connection:
        _take_time(connection)
        queues = queue_status(connection)
        last = {run.source: run for run in last_verifications(connection)}
    return {
        "recordings": [
            {
                "source": queue.source,
                "states": {
                    state: count
                    for state in ("scheduled", "downloading", "stored", "absent", "expired", "failed")
                    if (count := getattr(queue, state))
                },
                "differing": queue.differing,
                "undeleted": queue.undeleted,
                "verified": None
                if (run := last.get(queue.source)) is None
                else {
                    "who": run.who,
                    "began_at": run.began_at.isoformat(),
                    "ended_at": run.ended_at and run.ended_at.isoformat(),
                },
            }
            for queue in queues
        ]
    }


def completeness(source: str | None, since: datetime | None) -> dict[str, Any]:
    """What the dialler should have sent since, and where that is; and what can be told at all."""
    with engine().begin() as connection:
        _take_time(connection)
        found = report(connection, source=source, since=since)
    return {
        "lines": [
            {
                "source": line.source,
                "campaign": line.campaign_ref,
                "level": line.level,
                **line.sum._asdict(),
                "sure": line.sure,
            }
            for line in found.lines
        ],
        "findings": [
            {
                "source": each.source,
                "campaign": each.campaign_ref,
                "kind": each.kind,
                "calls": each.calls,
                "since": each.since.isoformat(),
            }
            for each in found.findings
        ],
        "witnesses": [
            {"source": each.source, "level": each.level, "state": each.state, "says": each.says}
            for each in found.witnesses
        ],
        "billed": [{"provider": each.provider, "calls": each.lines} for each in found.billed],
    }


def traffic(source: str | None, since: datetime, until: datetime, timezone: str) -> dict[str, Any]:
    """How many calls were dialled in each hour of a zone, and how many of them were answered."""
    with engine().begin() as connection:
        _take_time(connection)
        selection = Selection(since, until, source=source)
        found = {each.group: each.traffic for each in traffic_by(connection, selection, TrafficBy.HOUR, timezone)}
    hours = hourly(since, until, timezone)
    counted = [found.get(name, NO_TRAFFIC) for name in hours.names]
    return {
        "hours": [at.isoformat() for at in hours.begins],
        "attempts": [each.attempts for each in counted],
        "answered": [each.calls.get(Kind.ANSWERED, 0) for each in counted],
    }


def balance(source: str | None, since: datetime | None) -> dict[str, Any]:
    """The balance sheet of what was received since."""
    with engine().connect() as connection:
        connection.execute(text(f"SET statement_timeout = '{LONG_SECONDS}s'"))
        connection.commit()
        try:
            return {**balance_sheet(connection, since=since, source=source).as_dict()}
        finally:
            connection.execute(text("RESET statement_timeout"))
            connection.commit()


def _take_time(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL statement_timeout = '{LONG_SECONDS}s'"))
    connection.execute(text("SET TRANSACTION READ ONLY"))
