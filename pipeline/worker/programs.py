"""Celery's programs, such that what they print is a line of the log, and a worker with nothing left to do ends.

Celery prints a banner at the start and its farewell past every logger, and a worker that is told to end sleeps for all
of its time however soon its tasks are done.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery.apps import beat, worker
from celery.concurrency import thread
from celery.worker import state

from pipeline.logs.setup import get_logger, writes_json

if TYPE_CHECKING:
    from celery import Celery

log = get_logger(__name__)

LOOK_SECONDS: Final = 0.1


class Worker(worker.Worker):  # type: ignore[misc]
    """Celery's worker program."""

    def emit_banner(self) -> None:
        """Say what was started, as every other line is said."""
        log.info(
            "worker_started",
            worker=self.hostname,
            queues=sorted(self.app.amqp.queues.consume_from),
            pool=str(getattr(self.pool_cls, "__module__", self.pool_cls)).rpartition(".")[2],
            concurrency=self.concurrency,
            broker=self.app.connection().as_uri(),
        )

    def wait_for_soft_shutdown(self) -> None:
        """Give running tasks their time, and no more than they take.

        A pool of threads tells as soon as one has ended. What children of a process ended is heard by the loop that
        waits here, so those have all of the time.
        """
        seconds = self.app.conf.worker_soft_shutdown_timeout
        if not state.active_requests:
            return
        log.warning("worker_waits_for_tasks", tasks=len(state.active_requests), seconds=seconds)
        until = time.monotonic() + seconds
        while state.active_requests and (left := until - time.monotonic()) > 0:
            time.sleep(min(LOOK_SECONDS, left))
        time.sleep(LOOK_SECONDS)  # a task is struck off just before its message is acknowledged


class Beat(beat.Beat):  # type: ignore[misc]
    """Celery's beat program."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "quiet": True})

    def start_scheduler(self) -> None:
        """Say what is started, as every other line is said."""
        self.setup_logging()
        log.info("beat_started", broker=self.app.connection().as_uri())
        super().start_scheduler()


def say_as_a_line(message: str, file: Any = None) -> None:  # noqa: ARG001 - Celery names one
    """What Celery says within a signal handler, where no lock may be taken and no logger called."""
    line = message
    if writes_json():
        line = json.dumps(
            {
                "event": message,
                "logger": "celery.apps.worker",
                "level": "info",
                "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            }
        )
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{line}\n".encode())
    except OSError:  # nobody listens any more, and a worker has to end all the same
        return


def let_it_end(pool: Any, pid: int, number: Any = None) -> None:
    """What a pool of threads does with a task whose time is up at a stop: nobody can end a thread from outside.

    Celery asks every pool to, and one of threads has no answer but an exception, at which the worker ends in the middle
    of stopping. The process goes when the task has ended, or when whoever supervises it kills it.
    """
    del pool, pid, number


def use_our_programs(app: Celery) -> None:
    """Have ``celery worker`` and ``celery beat`` run these."""
    app.Worker = app.subclass_with_self(Worker)
    app.Beat = app.subclass_with_self(Beat)
    worker.safe_say = say_as_a_line
    thread.TaskPool.terminate_job = let_it_end
