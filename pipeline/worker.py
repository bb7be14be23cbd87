"""What a worker does otherwise than Celery's own: larger messages to Flower, and fewer looks for garbage."""

from __future__ import annotations

import gc
from typing import Any

from celery import signals

from pipeline.monitoring.living import LivingConsumer

FLUSH_SECONDS = 0.2
GARBAGE_THRESHOLDS = (50_000, 20, 50)


class Consumer(LivingConsumer):
    """The consumer that shows its life, but that task events wait for each other a moment.

    Celery sends what events there are at every turn of its loop, which is one or two, and each sending costs more than
    all else a worker's main process does for a message. Flower takes many at once as gladly.
    """

    _flush_is_due = False

    def on_send_event_buffered(self) -> None:
        """An event waits to be sent; with Celery's limit of them waiting they are sent without this."""
        if self.hub and not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._flush_events()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def _look_for_garbage_less_often(**_: Any) -> None:
    """A batch is thousands of short-lived rows and no cycle, and Python would look for one every 700 objects."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
