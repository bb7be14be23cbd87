"""May anything be claimed now, and how much? What the ingestor asks the database before each claim."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pipeline.ingest.inbox import unfinished_batches
from pipeline.ingest.rules.due import Due
from pipeline.ingest.rules.guards import FUSE_RECORDS, counts_again, fuse_blows
from pipeline.ingest.rules.judging import Judging
from pipeline.ingest.stops import Stop, raise_stop, recent_bad_share, standing_stop
from pipeline.logs.setup import get_logger

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.ingest.rules.pace import Pace

log = get_logger(__name__)


class Look(NamedTuple):
    """What the database says about claiming."""

    stop: Stop | None
    """What keeps us from it."""
    room: int
    """How many more records may be on their way."""
    unfinished: int
    """Batches that are."""


class Gate:
    """Looks at what stands against claiming, and judges what came last.

    Args:
        source: the dialler's name.
        pace: the bounds, and how often to look.
    """

    def __init__(self, source: str, pace: Pace) -> None:
        self._source = source
        self._pace = pace
        self._due = Due(pace.look_every)
        self._judging = Judging(pace.judge_every)
        self._said: Stop | None = None

    def due(self) -> bool:
        """Whether it is time to look, though there may be nothing to claim."""
        return self._due(time.monotonic())

    def look(self, connection: Connection) -> Look:
        """Look, and raise a stop when the last records say so; nothing is claimed then.

        Args:
            connection: the transaction in which a claim is settled, if it comes to one.
        """
        now = time.monotonic()
        self._due.done(now)
        unfinished, stopped = unfinished_batches(connection, self._source, self._pace.max_unfinished)
        stop = standing_stop(connection, self._source) if stopped else None
        if stop is None and self._judging.due(now):
            stop = self._judge(connection, now)
        room = self._pace.room(unfinished.batches, unfinished.records, trusted=self._judging.trusted)
        if room <= 0:
            self._judging.found_full()
        return Look(stop, room, unfinished.batches)

    def claimed(self, records: int) -> None:
        """So many records were claimed."""
        self._judging.claimed(records)

    def _judge(self, connection: Connection, now: float) -> Stop | None:
        share = recent_bad_share(connection, self._source, at_least=FUSE_RECORDS)
        self._judging.judged(now, records=share.records)
        if reason := fuse_blows(share.records, share.bad):
            raise_stop(connection, self._source, "fuse", reason)
        elif reason := counts_again(share.records, share.conflicts):
            raise_stop(connection, self._source, "conflicts", reason)
        return standing_stop(connection, self._source) if reason else None

    def say(self, stop: Stop | None) -> None:
        """Say what stops us when that begins, and when it ends. Called once what was looked at is committed."""
        if stop is not None and self._said is None:
            log.error(
                "ingestor_stopped_claiming",
                kind=stop.kind,
                reason=stop.reason,
                remedy=f"when the list is right after all: pipeline stops release --source {self._source}",
            )
        if stop is None and self._said is not None:
            log.warning("ingestor_released", kind=self._said.kind)
        self._said = stop
