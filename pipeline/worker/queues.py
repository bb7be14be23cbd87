"""Groups of queues: ``celery worker --queues steps`` reads those of all steps, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery.app.amqp import AMQP, Queues
from kombu.utils.functional import maybe_list

from pipeline.batches.rules.steps import QUEUE
from pipeline.worker.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUPS: Final = {"steps": tuple(QUEUE.values()), "recordings": ("recordings", "completeness")}
"""The queues that a group's name stands for. Those of one dialler have it in their own names."""


def expanded(names: Iterable[str]) -> list[str]:
    """Names of queues and groups, with the queues of each group in its place.

    >>> expanded(["steps", "pipeline"])
    ['cdr.normalize', 'cdr.classify', 'cdr.bill', 'cdr.schedule_recordings', 'cdr.update_contacts', 'pipeline']
    """
    return [queue for name in names for queue in GROUPS.get(name, (name,))]


class GroupedQueues(Queues):  # type: ignore[misc]
    """Celery's queues, which a worker may also be told by group. What it then says that it reads are the queues."""

    def select(self, include: str | Iterable[str] | None) -> None:
        """Read only these: `--queues`."""
        super().select(expanded(maybe_list(include or ())))

    def deselect(self, exclude: str | Iterable[str] | None) -> None:
        """Do not read these: `--exclude-queues`."""
        super().deselect(expanded(maybe_list(exclude or ())))


class GroupedAMQP(AMQP):  # type: ignore[misc]
    """Celery's messaging, with groups of queues and our producers."""

    queues_cls = GroupedQueues

    @property
    def producer_pool(self) -> Any:
        """The producers that wait to be used."""
        pool = super().producer_pool
        pool.Producer = Producer
        return pool
