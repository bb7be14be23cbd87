"""How Celery's processes show that they live: a touch as the event loop turns, not as a thread beside it does."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from billiard import current_process
from celery import bootsteps, signals
from celery.beat import Scheduler, SchedulingError
from celery.worker.consumer import Consumer
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.engine import make_engine
from pipeline.logs.setup import OutageLog, get_logger
from pipeline.monitoring import metrics
from pipeline.monitoring.exporter import StateCollector
from pipeline.monitoring.health import Sign
from pipeline.monitoring.waiting import count_messages
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = get_logger(__name__)
_outages = OutageLog(log)

TOUCH_SECONDS = 5.0

TICKS_WAIT_AT_MOST: Final = 10
"""More messages than that in the queue of the ticks, and nobody reads it, or not fast enough: another helps nobody."""


class _Signs:
    """The sign of this process; forked children inherit it."""

    sign: Sign | None = None


def sign_of(name: str) -> Sign:
    """Take a name for this process."""
    _Signs.sign = Sign(Path(current_settings().pipeline_run_dir), name)
    return _Signs.sign


def task_finished() -> None:
    """Called wherever a task has ended."""
    if _Signs.sign is not None:
        _Signs.sign.finished()


_last_moved: dict[int, float] = {}
"""When each thread's download last moved, by the monotonic clock. A child of a pool of processes tells nobody."""


@contextlib.contextmanager
def underway() -> Iterator[Callable[[], None]]:
    """A download is in hand; what this yields is called whenever it moves."""
    thread = threading.get_ident()

    def moved() -> None:
        _last_moved[thread] = time.monotonic()

    moved()
    try:
        yield moved
    finally:
        del _last_moved[thread]


def tell_slowest() -> None:
    """Show when the slowest download last moved, for a supervisor to see one that stands still."""
    if _Signs.sign is not None:
        slowest = min(_last_moved.copy().values(), default=None)
        _Signs.sign.moved(None if slowest is None else time.monotonic() - slowest)


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _name_worker(sender: str, **_: Any) -> None:
    sign_of(sender.partition("@")[0])


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _count_worker(sender: str, **_: Any) -> None:
    """Before the first fork, so that all children add to the same counts."""
    settings = current_settings()
    if settings.pipeline_metrics_port:
        name = sender.partition("@")[0]
        _Metrics.registry = metrics.count_here(shared=Path(settings.pipeline_run_dir) / f"{name}.metrics")


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _serve_worker(sender: Any, **_: Any) -> None:
    """After the first forks, which shall not hold the port."""
    _serve(sender.hostname.partition("@")[0])


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _take_slot(**_: Any) -> None:
    metrics.take_slot(getattr(current_process(), "index", 0))  # the solo pool forks nothing


@signals.beat_init.connect  # type: ignore[untyped-decorator]
def _serve_beat(**_: Any) -> None:
    """Beat is the one process there is only one of: it also tells the states of the database."""
    settings = current_settings()
    if settings.pipeline_metrics_port:
        _Metrics.registry = metrics.count_here()
        engine = make_engine(settings.database_url, application="cdr-metrics", pool_size=1)
        _Metrics.registry.register(StateCollector(engine))
        _serve("beat")


class _Metrics:
    """What this process serves."""

    registry: Any = None


def _serve(name: str) -> None:
    settings = current_settings()
    if _Metrics.registry is not None:
        port = metrics.port_of(name, settings.pipeline_metrics_port)
        metrics.serve(_Metrics.registry, settings.pipeline_metrics_address, port)
        _Metrics.registry = None  # a second `worker_ready`, after an outage, serves nothing twice


class LoopSign(bootsteps.StartStopStep):  # type: ignore[misc]
    """Touches the file from the worker's own event loop."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        """Called once, as the worker starts."""
        if _Signs.sign is not None:
            _Signs.sign.moved(None)  # of a process of this name that was killed
            worker.timer.call_repeatedly(TOUCH_SECONDS, _Signs.sign.alive)
            worker.timer.call_repeatedly(TOUCH_SECONDS, tell_slowest)

    def stop(self, worker: Any) -> None:  # noqa: ARG002 - a bootstep's signature
        """The worker ends in order."""
        if _Signs.sign is not None:
            _Signs.sign.gone()

    terminate = stop  # a cold shutdown, as after SIGTERM with REMAP_SIGTERM=SIGQUIT


class LivingConsumer(Consumer):  # type: ignore[misc]
    """Celery's consumer; while the broker is away it lives and is not ready.

    Its event loop stands still as it tries to reconnect, and a restart would mend nothing.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, for as long as it takes."""
        connect = conn.ensure_connection

        def connect_alive(*args: Any, callback: Any = None, **options: Any) -> Any:
            def each_second() -> None:
                if _Signs.sign is not None:
                    _Signs.sign.alive()
                if callback is not None:
                    callback()

            return connect(*args, callback=each_second, **options)

        conn.ensure_connection = connect_alive
        try:
            return super().ensure_connected(conn)
        finally:
            del conn.ensure_connection

    def on_ready(self) -> None:
        """The event loop is about to turn: at the start, and after each outage."""
        super().on_ready()
        if _Signs.sign is not None:
            _Signs.sign.alive()
            _Signs.sign.ready(tuple(self.app.amqp.queues.consume_from))

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The broker went."""
        if _Signs.sign is not None:
            _Signs.sign.not_ready()
        super().on_connection_error_after_connected(exc)


class LivingScheduler(Scheduler):  # type: ignore[misc]
    """Celery beat's scheduler; every schedule is an interval, so nothing is remembered across a restart."""

    _held_back = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sign = sign_of("beat")
        super().__init__(*args, **options)
        self.app.conf.task_send_sent_event = False  # all that beat sends is ticks

    def tick(self, *args: Any, **options: Any) -> Any:
        """One turn of beat's loop."""
        wait = super().tick(*args, **options)
        self._sign.alive()
        self._sign.ready()
        return wait

    def adjust(self, n: Any, drift: float = 0.0) -> Any:
        """When an entry is due: Celery's own is ten milliseconds early, and its loop turns without a rest until then.

        Args:
            n: the seconds until then.
            drift: Celery's correction, which is not made.
        """
        del drift
        return n

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send one tick, unless those before it still wait: without a worker they would fill the broker."""
        if not self._is_worth(entry):
            return
        try:
            waiting = count_messages(producer.connection, self.app.conf.task_routes[entry.task]["queue"])
        except Exception:  # noqa: BLE001 - each transport has errors of its own, and sending says which it is
            waiting = 0
        if waiting < TICKS_WAIT_AT_MOST:
            self._send(entry, producer)
        held_back = waiting >= TICKS_WAIT_AT_MOST
        if held_back != self._held_back:
            self._held_back = held_back
            log.warning("ticks_held_back" if held_back else "ticks_go_on", waiting=waiting)

    def _is_worth(self, entry: Any) -> bool:
        """Whether its task would find anything to do; one that cannot be asked for is sent, and sees for itself."""
        only_when = getattr(self.app.tasks.get(entry.task), "only_when", None)
        try:
            return only_when is None or only_when()
        except SQLAlchemyError:  # whatever it is, the worker that runs the tick says so, and beat goes on
            return True

    def _send(self, entry: Any, producer: Any) -> None:
        """Send it; an outage of the broker is said once, and not with a traceback a tick."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            _outages.away("broker", error.__cause__ or error)
        else:
            _outages.back("broker")

    def close(self) -> None:
        """Beat ends."""
        super().close()
        self._sign.gone()
