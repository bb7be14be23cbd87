"""The part of a worker that talks to the broker, with fewer, larger messages to Flower."""

from __future__ import annotations

from celery.worker.consumer import Consumer as CeleryConsumer

FLUSH_SECONDS = 0.2


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's own, but that task events wait for each other a moment.

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
