"""What a worker counts of its tasks, for Prometheus and for the log line of each task."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from pipeline.monitoring import metrics
from pipeline.storage.gauges import noticed_here, receipt_to_charge_seconds
from pipeline.storage.progress import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.steps.run import StepResult
    from pipeline.storage.failures import Failure
    from pipeline.storage.inbox import Batch, Span


class StepCount:
    """Counts one step of one batch, as its row says it is: what its work sets aside, and how long all of it took.

    Args:
        step: the step.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._began = time.perf_counter()
        self._classes: Counter[str] = Counter()
        self._duplicates = 0

    def around(self, work: Callable[[Connection, Span], list[Failure]]) -> Callable[[Connection, Span], list[Failure]]:
        """The same work, counted."""
        if not metrics.serving():
            return work

        def counted(connection: Connection, span: Span) -> list[Failure]:
            failures = work(connection, span)
            self._classes.update(failure.failure_class for failure in failures)
            if self._step is Step.NORMALIZE:
                self._duplicates += noticed_here(connection, span.first, span.last)
            return failures

        return counted

    def done(self, result: StepResult, engine: Engine) -> None:
        """The step ended; only work that was done by this very run counts."""
        worked = result.outcome.startswith("done") and result.outcome != "done before"
        if not metrics.serving() or not worked or result.progress is None:
            return
        batch = result.progress.batch
        source, step = batch.source, self._step.value
        metrics.observe(metrics.STEP_SECONDS, time.perf_counter() - self._began, step=step)
        metrics.count(metrics.DUPLICATES, self._duplicates, source=source)
        # A record that killed its worker is set aside beside the work.
        self._classes["bug"] += max(0, result.set_aside - self._classes.total())
        for failure_class, number in self._classes.items():
            metrics.count(metrics.FAILURES, number, **{"source": source, "step": step, "class": failure_class})
        if self._step is Step.NORMALIZE:
            metrics.count(metrics.QUARANTINED, self._classes.total(), source=source)
        if self._step is Step.BILL:
            self._observe_latency(engine, batch)
        metrics.count(metrics.PROCESSED, batch.records, source=source, step=step)

    @staticmethod
    def _observe_latency(engine: Engine, batch: Batch) -> None:
        span, seconds = batch.span, None
        with contextlib.suppress(SQLAlchemyError), engine.connect() as connection:  # the charges are committed
            seconds = receipt_to_charge_seconds(connection, batch.batch_id, span.first, span.last)
        if seconds is not None:
            metrics.observe(metrics.CHARGE_SECONDS, seconds, source=batch.source)
