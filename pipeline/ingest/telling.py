"""What the ingestor tells of itself and of the list: a sign of life, and figures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import redis
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.engine import is_missing, is_outage
from pipeline.dialler.rules.list_facts import dialed_at
from pipeline.monitoring import metrics
from pipeline.monitoring.heartbeats import INGESTOR, beat

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from pipeline.dialler.cdr_list import CdrList
    from pipeline.logs.setup import OutageLog


class Telling:
    """Tells whoever asks. An error in it is said and costs nothing else, but for an outage.

    Args:
        cdr_list: the dialler's list.
        engine: the database.
        source: the dialler's name.
        outages: where an error in it is said, once.
    """

    def __init__(self, cdr_list: CdrList, engine: Engine, source: str, outages: OutageLog) -> None:
        self._list = cdr_list
        self._engine = engine
        self._source = source
        self._outages = outages

    def tell(self) -> None:
        """Tell all there is to tell."""
        self._aside("sign of life", self._sign_of_life)
        if metrics.serving():
            self._aside("metrics of the list", self._figures)

    def _aside(self, what: str, tell: Callable[[], None]) -> None:
        try:
            tell()
        except (redis.ConnectionError, redis.TimeoutError):
            raise
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and is_outage(error) and not is_missing(error):
                raise
            self._outages.away(what, error)
        else:
            self._outages.back(what)

    def _sign_of_life(self) -> None:
        """For whoever asks from a machine that cannot see the dialler's Redis."""
        with self._engine.begin() as connection:
            beat(connection, INGESTOR, self._source, who=self._list.owner)

    def _figures(self) -> None:
        there = self._list.look(1)
        ages = [time.time() - at for at in map(dialed_at, (*there.left, *there.right)) if at is not None]
        for metric, value in (
            (metrics.LIST_RECORDS, there.waiting),
            (metrics.LIST_OLDEST, max(ages, default=0.0)),
            (metrics.OPEN_CLAIMS, there.claims),
            (metrics.OLDEST_CLAIM, there.oldest_claim_seconds or 0.0),
        ):
            metrics.gauge(metric, value, source=self._source)
