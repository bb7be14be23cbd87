"""What a worker does otherwise than Celery's own: larger messages to Flower, and fewer looks for garbage."""

from __future__ import annotations

import gc
from typing import Any

from celery import signals

from pipeline.monitoring.living import LivingConsumer

FLUSH_SECONDS = 0.2
EVENTS_HELD = 10_000
"""More than come together in that time; Celery's own limit of 24 makes whoever adds one too many send them."""
GARBAGE_THRESHOLDS = (50_000, 20, 50)


class Consumer(LivingConsumer):
    """The consumer that shows its life, but that task events wait for each other a moment.

    Celery sends what events there are at every turn of its loop, which is one or two, and each sending costs more than
    all else a worker's main process does for a message. Flower takes many at once as gladly.

    Only the loop's own thread sends them. Threads of a pool that did so as well, when many events wait, would read each
    other's confirmations off the one connection to RabbitMQ, and then all of them wait for ever.
    """

    _flush_is_due = False

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
