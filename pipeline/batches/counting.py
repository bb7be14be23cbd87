"""What a worker counts of its tasks, for Prometheus and for the log line of each task."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pipeline.batches.rules.steps import Step
from pipeline.database.engine import reading
from pipeline.monitoring import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from pipeline.batches.rules.batch import Batch, Span
    from pipeline.batches.rules.failure import Failure
    from pipeline.batches.run import StepResult

if TYPE_CHECKING:
    from sqlalchemy import Connection


def receipt_to_charge_seconds(connection: Connection, batch_id: int, first: int, last: int) -> float | None:
    """The seconds since a batch was received; None where they say nothing: records were tried again, or had to wait."""
    seconds = connection.scalar(
        text(
            "SELECT extract(epoch FROM clock_timestamp() - received_at)::float8 FROM batches "
            "WHERE id = :id AND reopened_at IS NULL AND NOT EXISTS ("
            "  SELECT FROM failures WHERE record_id BETWEEN :first AND :last AND state <> 'open')"
        ),
        {"id": batch_id, "first": first, "last": last},
    )
    return None if seconds is None else float(seconds)


def duplicates_noticed_now(connection: Connection, first: int, last: int) -> int:
    """How many duplicates this very transaction noticed among some records: their time is that of its beginning."""
    found = connection.scalar(
        text("SELECT count(*) FROM duplicates WHERE record_id BETWEEN :first AND :last AND noticed_at = now()"),
        {"first": first, "last": last},
    )
    return int(found or 0)


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
                self._duplicates += duplicates_noticed_now(connection, span.first, span.last)
            return failures

        return counted

    def done(self, result: StepResult, engine: Engine, *, seconds: float | None = None) -> None:
        """The step ended, after so many seconds; only work that was done by this very run counts."""
        worked = result.outcome.startswith("done") and result.outcome != "done before"
        if not metrics.serving() or not worked or result.progress is None:
            return
        batch = result.progress.batch
        source, step = batch.source, self._step.value
        metrics.observe(
            metrics.STEP_SECONDS, time.perf_counter() - self._began if seconds is None else seconds, step=step
        )
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
        with contextlib.suppress(SQLAlchemyError), reading(engine) as connection:  # the charges are committed
            seconds = receipt_to_charge_seconds(connection, batch.batch_id, span.first, span.last)
        if seconds is not None:
            metrics.observe(metrics.CHARGE_SECONDS, seconds, source=batch.source)
