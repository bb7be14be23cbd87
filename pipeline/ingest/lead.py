"""The lease on a dialler's list: whether this ingestor leads, and what it looks at when it begins to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.ingest.rules.guards import wrong_list
from pipeline.ingest.rules.states import Event
from pipeline.ingest.stops import raise_stop, was_released
from pipeline.logs.setup import get_logger
from pipeline.monitoring import metrics

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipeline.dialler.cdr_list import CdrList

log = get_logger(__name__)

PEEKED = 20
"""Elements looked at before the first claim."""


class Lead:
    """This ingestor's part in who consumes a list.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        source: the dialler's name.
    """

    def __init__(self, cdr_list: CdrList, engine: Engine, source: str) -> None:
        self._list = cdr_list
        self._engine = engine
        self._source = source
        self._leading: bool | None = None

    def ask(self) -> Event:
        """Ask for the lease: held by another, taken just now, or kept."""
        if self._list.hold_lease():
            return Event.KEPT if self._leading else Event.TAKEN
        self._say(leading=False)
        return Event.HELD

    def look(self) -> None:
        """Before the first claim: is this the integrators' list at all? If not, raise a stop, unless a person knows."""
        reason = wrong_list(self._list.peek(PEEKED))
        if reason is not None:
            with self._engine.begin() as connection:
                if not was_released(connection, self._source, "wrong_list"):
                    raise_stop(connection, self._source, "wrong_list", f"the list {self._list.name} {reason}")
        # Only now: a look that failed for an outage is taken again.
        self._say(leading=True)

    def _say(self, *, leading: bool) -> None:
        if leading != self._leading:
            log.info("ingestor_leads" if leading else "ingestor_stands_by", owner=self._list.owner)
            self._leading = leading
            metrics.gauge(metrics.LEADS, leading, source=self._source)
