"""Why tasks of a batch did nothing, as far as Flower remembers: the database has no row of a task that failed whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.batches.rules.steps import TASK
from pipeline.logs.rules.visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection

LONGEST: Final = 300
"""How much of an error is shown, in characters; its task's page has the rest."""

_BATCH: Final = re.compile(r"'batch_id': (\d+)")
_WAITS: Final = re.compile(r"'?waits: ")
"""How a task ends that met an outage (``PipelineTask``)."""

_NAMES: Final = frozenset(TASK.values())


class TaskError(NamedTuple):
    """What a batch's last task that did nothing said of it, and which that was."""

    says: str
    task_id: str


def errors_of(state: Any, batch_ids: Collection[int]) -> dict[int, TaskError]:
    """The last error of each of these batches that Flower has heard of; a wait for the database is one here.

    Args:
        state: Flower's memory of events; its thread goes on changing it.
        batch_ids: the batches.
    """
    with state.tasks.mutex:
        tasks = list(state.tasks.data.values())
    found: dict[int, tuple[float, TaskError]] = {}
    for task in tasks:
        says = task.exception or (task.result if _WAITS.match(str(task.result)) else None)
        if task.name not in _NAMES or not says:
            continue
        of = _BATCH.search(task.kwargs or "")
        batch_id, at = int(of[1]) if of else -1, task.timestamp or 0.0
        if batch_id in batch_ids and at >= found.get(batch_id, (0.0, None))[0]:
            found[batch_id] = at, TaskError(visible(str(says))[:LONGEST], task.uuid)
    return {batch_id: error for batch_id, (_, error) in found.items()}
