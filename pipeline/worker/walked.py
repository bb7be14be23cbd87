"""A batch goes through all its steps in one task; Flower is told of each step as of a task of its own.

The task's result says what it did, in words for a person; the worker's main process, which is the one that sends
events, reads the steps from there. An event more a step is all that it costs.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery.worker.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence


class Walked(NamedTuple):
    """A step that a batch went through without a message of its own."""

    task: str
    seconds: float
    set_aside: int = 0


_SAID: Final = re.compile(r"([a-z_.]+) in (\d+\.\d) ms(?:, (\d+) set aside)?")
_BEGINS: Final = "then "


def say_walked(steps: Sequence[Walked]) -> str:
    """The steps in words.

    >>> say_walked([Walked("cdr.classify", 0.0012), Walked("cdr.bill", 0.002, 1)])
    'then cdr.classify in 1.2 ms; cdr.bill in 2.0 ms, 1 set aside'
    """
    return _BEGINS + "; ".join(
        f"{task} in {seconds * 1e3:.1f} ms" + (f", {aside} set aside" if aside else "")
        for task, seconds, aside in steps
    )


def read_walked(result: str) -> list[Walked]:
    """The steps that a task's result speaks of.

    >>> read_walked("done: 1 records of enigma; then cdr.classify in 1.2 ms; cdr.bill in 2.0 ms, 1 set aside")
    [Walked(task='cdr.classify', seconds=0.0012, set_aside=0), Walked(task='cdr.bill', seconds=0.002, set_aside=1)]
    >>> read_walked("done: 2000 records of enigma")
    []
    """
    _, _, said = result.partition(f"; {_BEGINS}")
    return [
        Walked(task, float(milliseconds) / 1e3, int(aside or 0)) for task, milliseconds, aside in _SAID.findall(said)
    ]


def id_within(task_id: str, task: str) -> str:
    """The id by which a step that was done within a task is known, in Flower and in the log."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{task_id} {task}"))


class WalkRequest(Request):  # type: ignore[misc]
    """Celery's request of a task, but that it tells of the steps that were done within it."""

    def on_success(self, failed__retval__runtime: tuple[bool, Any, float], **kwargs: Any) -> Any:
        """Called in the main process when the task has ended."""
        answer = super().on_success(failed__retval__runtime, **kwargs)
        failed, result, _ = failed__retval__runtime
        if not failed and isinstance(result, str):
            for step in read_walked(result):
                self._tell(step)
        return answer

    def _tell(self, step: Walked) -> None:
        eventer = self._eventer
        if not (eventer and eventer.enabled and self.task.send_events):
            return
        now = time.time()
        eventer.send(
            "task-succeeded",
            uuid=id_within(self.id, step.task),
            name=step.task,
            args="()",
            kwargs=self.kwargsrepr,
            root_id=self.root_id or self.id,
            parent_id=self.id,
            received=now - step.seconds,
            started=now - step.seconds,
            runtime=step.seconds,
            result=f"'done within cdr.normalize{f', {step.set_aside} set aside' if step.set_aside else ''}'",
        )
