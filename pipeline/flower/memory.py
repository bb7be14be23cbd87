"""What Flower remembers of tasks: only so many, saved seldom and beside its loop, and never more than it can load.

Flower writes all it remembers from its event loop, and every page waits for that. Loading takes several times what is
loaded; a state from a time when it remembered more would have it killed at each start.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from flower import app as flower_app
from flower.events import Events
from kombu.utils.functional import LRUCache
from tornado.ioloop import PeriodicCallback

from pipeline.logs.setup import get_logger

if TYPE_CHECKING:
    from celery.events.state import Worker
    from flower.events import EventsState

log = get_logger(__name__)

MOST_TASKS: Final = 10_000
"""About 6 kB each in memory, and again as much for a moment while they are loaded."""

SAVE_MILLISECONDS: Final = 300_000
BYTES_A_TASK: Final = 1_000  # in the file; far more than a task of this project takes


class Snapshot:
    """A state as it is now: quickly taken, and saved as if it were the state itself.

    Args:
        state: Flower's; it may change while this is being written.
    """

    def __init__(self, state: EventsState) -> None:
        self.counter = {worker: dict(counts) for worker, counts in state.counter.items()}
        make, (callback, workers, tasks, *others) = state.__reduce__()
        self._reduced = (make, (callback, _copy(workers, _still), _copy(tasks), *others))

    def __reduce__(self) -> Any:
        """Read again, it is a state."""
        return self._reduced


def _copy(cache: LRUCache, changed: Any = lambda value: value) -> LRUCache:
    copied = LRUCache(cache.limit)
    with cache.mutex:
        copied.data.update((key, changed(value)) for key, value in cache.data.items())
    return copied


def _still(worker: Worker) -> Worker:
    """A worker whose list of heartbeats nobody adds to."""
    make, (hostname, pid, freq, heartbeats, *others) = worker.__reduce__()
    return make(hostname, pid, freq, list(heartbeats), *others)


class BoundedEvents(Events):  # type: ignore[misc]
    """Flower's memory, saved in a thread of its own."""

    def __init__(self, *args: Any, max_tasks_in_memory: int, **options: Any) -> None:
        self._largest_bytes = BYTES_A_TASK * max_tasks_in_memory
        self._writing = threading.Lock()
        super().__init__(*args, max_tasks_in_memory=max_tasks_in_memory, **options)
        if self.state_save_interval:
            self.state_save_timer: PeriodicCallback | None = PeriodicCallback(
                self._save_beside, self.state_save_interval
            )

    def load_state(self) -> EventsState | None:
        """What was saved last, unless it is too large to be loaded."""
        size = sum(file.stat().st_size for file in self._files())
        if size > self._largest_bytes:
            log.warning("flower_state_set_aside", db=self.db, size_bytes=size, largest_bytes=self._largest_bytes)
            for file in self._files():
                file.replace(f"{file}.too-large")
            return None
        return super().load_state()

    def _files(self) -> list[Path]:
        """Which of them there are depends on the machine's dbm."""
        files = [Path(self.db + suffix) for suffix in ("", ".db", ".dat", ".dir", ".bak")]
        return [file for file in files if file.exists()]

    def save_state(self) -> None:
        """Save it here and now, as at a stop."""
        self._write(self.state)

    async def _save_beside(self) -> None:
        snapshot = Snapshot(self.state)
        await asyncio.get_running_loop().run_in_executor(None, self._write, snapshot)

    def _write(self, state: Any) -> None:
        stands_in = SimpleNamespace(
            db=self.db, state=state, state_save_interval=self.state_save_interval, state_save_timer=None
        )
        with self._writing:
            Events.save_state(stands_in)


def install() -> None:
    """Have Flower, which is not built yet, remember like this."""
    flower_app.Events = BoundedEvents
