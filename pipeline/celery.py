"""The Celery application, and what all tasks of this project share."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, Task, signals
from kombu.exceptions import OperationalError as BrokerError

from pipeline.database.engine import is_outage
from pipeline.logs.setup import OutageLog, get_logger
from pipeline.monitoring import metrics
from pipeline.settings import start_logging
from pipeline.worker.giving_way import give_way_by_queues
from pipeline.worker.liveness import LoopSign, task_finished
from pipeline.worker.programs import use_our_programs
from pipeline.worker.queues import GroupedAMQP
from pipeline.worker.rabbitmq import wait_for_login
from pipeline.worker.transport import check_what_redis_holds
from pipeline.worker.walked import id_within
from pipeline.worker.wire import Clock, read_plain_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Queue

read_plain_messages()
check_what_redis_holds()
wait_for_login()
app = Celery(
    "pipeline",
    amqp=GroupedAMQP,
    include=[
        f"pipeline.tasks.{name}"
        for name in ("flow", "recordings", "failures", "feed", "completeness", "archive", "keeping", "ranges")
    ],
)
app.clock = Clock()
app.config_from_object("celeryconfig")
app.steps["worker"].add(LoopSign)
use_our_programs(app)
signals.celeryd_init.connect(give_way_by_queues)

log = get_logger(__name__)
outages = OutageLog(log)

BROKER_OUTAGES = (BrokerError, ConnectionError, TimeoutError)
"""What a publish raises while the broker is away."""


_noted: ContextVar[dict[str, Any]] = ContextVar("noted")


def note(**facts: Any) -> None:
    """Add facts to the line that the running task will end with; ``idle`` makes it one for debugging."""
    _noted.get({}).update(facts)


class _Silent:
    """Stands where Celery has what tells that a task was sent."""

    def publish(self, *_: Any, **__: Any) -> None:
        """Tell nobody."""


_SILENT = _Silent()


class PipelineTask(Task):  # type: ignore[misc]
    """A task whose work a database row records: it may be lost, repeated or late.

    It ends in one of few ways. It returns a short sentence, which Flower shows; or the database is away, and then it
    ends too, for the row waits and the reconciler sends it again; or it raises, which is a bug.
    """

    abstract = True
    Strategy = "pipeline.worker.malformed:strategy"
    Request = "pipeline.worker.walked:WalkRequest"
    # Of `task_retry_on_worker_lost`: how often a message may take a worker process down with it, and how soon again.
    max_retries = 3
    default_retry_delay = 1
    only_when: Callable[[], bool] | None = None
    """What beat asks before it sends a tick: whether there is anything for it to do."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        noted: dict[str, Any] = {}
        token = _noted.set(noted)
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id, **kwargs):
            try:
                noted["outcome"] = self.run(*args, **kwargs)
            except Exception as error:
                noted["error"] = type(error).__name__
                if not is_outage(error):
                    raise
                outages.away("database", error)
                noted["outcome"] = "waits: the database is away"
            else:
                outages.back("database")
            finally:
                _noted.reset(token)
                self._ended(noted, time.perf_counter() - started)
            return noted["outcome"]

    def _ended(self, noted: dict[str, Any], seconds: float) -> None:
        """Whatever became of it: a sign of life, a count, and the one line that says it all."""
        task_finished()
        ended = "failed" if "outcome" not in noted else "waits" if "error" in noted else "done"
        metrics.count(metrics.TASKS, task=self.name, outcome=ended)
        write = log.warning if "error" in noted else log.debug if noted.pop("idle", False) else log.info
        write("task_ended", ended=ended, seconds=round(seconds, 4), **noted)

    def ended_within(self, task_id: str, seconds: float, *, set_aside: int, **facts: Any) -> None:
        """This task's work was done within another task: it is counted as if it had been sent.

        The other's line says that and how long it took; one of its own it has where it set anything aside.
        """
        metrics.count(metrics.TASKS, task=self.name, outcome="done")
        if set_aside:
            ids = {"task": self.name, "task_id": id_within(task_id, self.name)}
            log.info("task_ended", ended="done", seconds=round(seconds, 4), set_aside=set_aside, **ids, **facts)

    def send(
        self,
        *,
        task_id: str | None = None,
        queue: Queue | None = None,
        expires: float | None = None,
        told: bool = True,
        **kwargs: Any,
    ) -> bool:
        """Send this task; False when the broker is away, which only delays: the row stays, and is sent again.

        Args:
            task_id: Celery's id of it; None: a new one.
            queue: None: that of its routes.
            expires: seconds; None: never.
            told: whether Flower is told that it was sent, which costs nearly as much as to send it.
            kwargs: the task's own.
        """
        options: dict[str, Any] = {} if told else {"event_dispatcher": _SILENT}
        # What Flower shows of its arguments; Celery's own way to write them takes an eighth of the sending.
        options |= {"argsrepr": "()", "kwargsrepr": repr(kwargs)}
        try:
            self.apply_async(kwargs=kwargs, task_id=task_id, queue=queue, expires=expires, **options)
        except BROKER_OUTAGES as error:
            outages.away("broker", error)
            return False
        outages.back("broker")
        return True


app.Task = PipelineTask


def task(name: str, *, only_when: Callable[[], bool] | None = None) -> Callable[[Callable[..., str]], PipelineTask]:
    """Declare a task. Its name is said outright, so that moving the function strands no message.

    Args:
        name: of the task.
        only_when: whether beat's tick is worth sending, asked in beat's own process.
    """
    asked = None if only_when is None else staticmethod(only_when)
    declare: Callable[[Callable[..., str]], PipelineTask] = app.task(name=name, only_when=asked)
    return declare


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _log_warnings_too(**_: Any) -> None:
    """Celery looks at who runs it, and warns, before it sets up its logging."""
    _configure_logging()
    logging.captureWarnings(capture=True)


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logging(**_: Any) -> None:
    start_logging()
