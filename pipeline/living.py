"""How Celery's processes show that they live: a touch as the event loop turns, not as a thread beside it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import bootsteps, signals
from celery.beat import Scheduler
from celery.worker.consumer import Consumer

from pipeline.health import Sign
from pipeline.settings import current_settings

TOUCH_SECONDS = 5.0


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


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _name_worker(sender: str, **_: Any) -> None:
    sign_of(sender.partition("@")[0])


class LoopSign(bootsteps.StartStopStep):  # type: ignore[misc]
    """Touches the file from the worker's own event loop."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:
        """Called once, as the worker starts."""
        if _Signs.sign is not None:
            worker.timer.call_repeatedly(TOUCH_SECONDS, _Signs.sign.alive)

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

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sign = sign_of("beat")
        super().__init__(*args, **options)

    def tick(self, *args: Any, **options: Any) -> Any:
        """One turn of beat's loop."""
        wait = super().tick(*args, **options)
        self._sign.alive()
        self._sign.ready()
        return wait

    def close(self) -> None:
        """Beat ends."""
        super().close()
        self._sign.gone()
