"""What a worker does otherwise than Celery's own.

It reads only messages that this project sends, answers only questions by remote control, sends larger messages to
Flower, and looks less often for garbage.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any, Final

from celery import signals
from celery.worker.control import Panel

from pipeline.logs.setup import get_logger
from pipeline.monitoring import metrics
from pipeline.settings import current_settings
from pipeline.worker.liveness import LivingConsumer
from pipeline.worker.malformed import RefusedError, check_message, parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger(__name__)
celery_log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 5.0
"""Between two signs of life for Flower, which takes a worker for offline after twice that. Celery's own is 2."""

FLUSH_SECONDS = 0.5
EVENTS_HELD = 10_000
"""More than come together in that time; Celery's own limit of 24 makes whoever adds one too many send them."""
GARBAGE_THRESHOLDS = (50_000, 20, 50)

LOOKS: Final = frozenset({
    "report", "conf", "clock", "ping", "stats", "registered", "active_queues", "query_task", "enable_events",
    *("scheduled", "dump_schedule", "reserved", "dump_reserved"),
    *("active", "dump_active", "revoked", "dump_revoked", "dump_tasks"),
})  # fmt: skip
"""What whoever reaches the broker may have a worker do: answer, and send the events that it sends anyway."""


class Consumer(LivingConsumer):
    """The consumer that shows its life, but that task events wait for each other a moment.

    Celery sends what events there are at every turn of its loop, which is one or two, and each sending costs more than
    all else a worker's main process does for a message. Flower takes many at once as gladly.

    Only the loop's own thread sends them. Threads of a pool that did so as well, when many events wait, would read each
    other's confirmations off the one connection to RabbitMQ, and then all of them wait for ever.
    """

    class Blueprint(LivingConsumer.Blueprint):  # type: ignore[misc,name-defined]
        """Celery's parts of a consumer, but for 28 queues on RabbitMQ that hold messages until they are due.

        What is due later is a row here, and such queues take nothing from the exchange that this project has.
        """

        default_steps = tuple(step for step in LivingConsumer.Blueprint.default_steps if "delayed_delivery" not in step)

    _flush_is_due = False

    def __init__(self, *args: Any, **options: Any) -> None:
        _only_look()
        told = options.get("worker_options") or {}
        every = told.get("heartbeat_interval") or HEARTBEAT_SECONDS
        super().__init__(*args, **options | {"worker_options": told | {"heartbeat_interval": every}})

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """What is called with each message of a task: Celery, once it was looked at."""
        receive = super().create_task_handler(*args, **options)
        known = parameters_of(self.app.tasks)

        def receive_ours(message: Any) -> None:
            try:
                check_message(message, known)
            except RefusedError as refused:
                self._refuse(message, refused.kind, str(refused))
            else:
                receive(message)

        return receive_ours

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """A body that cannot be read, or is compressed."""
        self._refuse(message, "body", str(exc)[:200])

    def _refuse(self, message: Any, kind: str, reason: str) -> None:
        """Throw it away and say so; it is not put back, for it would only come again."""
        metrics.count(metrics.REFUSED, kind=kind)
        place = (message.delivery_info or {}).get("routing_key")
        log.warning(
            "message_refused", kind=kind, place=repr(place)[:200], reason=reason, size_bytes=len(message.body or "")
        )
        message.reject_log_error(celery_log, self.connection_errors)

    def on_ready(self) -> None:
        """There is a new connection for events, at the start and after each outage."""
        super().on_ready()
        self._flush_is_due = False
        if self.event_dispatcher:
            self.event_dispatcher.buffer_limit = EVENTS_HELD

    def on_send_event_buffered(self) -> None:
        """An event waits to be sent; called from whichever thread it comes."""
        if self.hub and not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self.hub.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._flush_events()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _look_for_garbage_less_often(**_: Any) -> None:
    """A batch is thousands of short-lived rows and no cycle, and Python would look for one every 700 objects."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _only_look() -> None:
    """Remote control has no password but the broker's, and this project changes no worker while it runs."""
    if current_settings().pipeline_remote_control == "look":
        for name in set(Panel.data) - LOOKS:
            Panel.data[name] = _refused(name)


def _refused(name: str) -> Callable[..., dict[str, str]]:
    def refuse(_: Any, **__: Any) -> dict[str, str]:
        metrics.count(metrics.REFUSED, kind="control")
        log.warning("remote_control_refused", command=name)
        return {"error": f"{name} is refused: PIPELINE_REMOTE_CONTROL lets a worker only be looked at"}

    return refuse
