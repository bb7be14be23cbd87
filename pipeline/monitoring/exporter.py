"""The states of the database for Prometheus: read by one process, beat, when it is asked, and not too often."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from pipeline.logs.setup import get_logger
from pipeline.monitoring.gauges import KEEP_SECONDS, QUERIES, read_gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from pipeline.monitoring.gauges import GaugeQuery, Reading

log = get_logger(__name__)

SHARE: Final = 20
"""What a query took is kept this many times as long: however large the tables, it costs a twentieth of a core."""


class StateCollector:
    """Reads each query's gauges anew once its last reading is too old.

    Args:
        engine: the database.
        clock: seconds that only go forward.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, list[Reading]] = {}
        self._next: dict[str, float] = {}
        self._failed = dict.fromkeys((query.name for query in QUERIES), 0)
        self._beside: dict[str, threading.Thread] = {}

    def collect(self) -> Iterator[Any]:
        """Every gauge, as Prometheus' library asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - once it is needed

        with self._lock:
            for query in QUERIES:
                families = {
                    metric.name: GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                    for metric in query.metrics
                }
                for reading in self._readings(query):
                    families[reading.metric.name].add_metric(reading.labels, reading.value)
                yield from families.values()
            failed = CounterMetricFamily(
                "cdr_state_query_failures_total", "Readings of the database that failed.", labels=("query",)
            )
            for name, count in self._failed.items():
                failed.add_metric((name,), count)
            yield failed

    def wait(self) -> None:
        """Until nothing is being read any more, for whoever is about to close the engine."""
        for thread in list(self._beside.values()):
            thread.join()

    def _readings(self, query: GaugeQuery) -> list[Reading]:
        began = self._clock()
        if began >= self._next.get(query.name, began):
            self._next[query.name] = math.inf  # until it is read
            if query.beside:
                self._beside[query.name] = threading.Thread(target=self._read, args=(query,), daemon=True)
                self._beside[query.name].start()
            else:
                self._read(query)
        return self._kept.get(query.name, [])

    def _read(self, query: GaugeQuery) -> None:
        began, keep = self._clock(), KEEP_SECONDS
        found: list[Reading] = []  # where it fails: old values would look like new ones, better none at all
        failed = 0
        try:
            with self._engine.begin() as connection:
                found = read_gauges(connection, query)
            keep = query.keep_seconds
        except SQLAlchemyError as error:
            found, failed = [], 1
            log.warning("state_query_failed", query=query.name, error=str(getattr(error, "orig", error))[:200])
        finally:
            ended = self._clock()
            self._next[query.name] = ended + max(keep, SHARE * (ended - began))
            self._kept[query.name] = found
            self._failed[query.name] += failed
