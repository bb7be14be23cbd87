"""What a worker reads, as it is told on its command line."""

from __future__ import annotations

import pytest

import celeryconfig
from pipeline.batches.rules.steps import QUEUE, TABLE
from pipeline.celery import app
from pipeline.tasks import flow
from pipeline.worker.queues import GroupedAMQP, GroupedQueues

STEPS = ["cdr.normalize", "cdr.classify", "cdr.bill", "cdr.schedule_recordings", "cdr.update_contacts"]


@pytest.fixture
def queues() -> GroupedQueues:
    return GroupedQueues(celeryconfig.task_queues, create_missing=celeryconfig.task_create_missing_queues)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (["steps", "pipeline"], [*STEPS, "pipeline"]),
        ([*STEPS, "pipeline"], [*STEPS, "pipeline"]),
        (["steps"], STEPS),
        ("steps", STEPS),
        (["cdr.bill"], ["cdr.bill"]),
        (["cdr.bill", "steps"], ["cdr.bill", *(name for name in STEPS if name != "cdr.bill")]),
        (["recordings"], ["recordings.enigma", "completeness.enigma"]),
    ],
)
def test_a_group_is_its_queues(queues, told, read):
    """The names that a worker then tells of itself are those of queues."""
    queues.select(told)
    assert list(queues.consume_from) == read
    assert all(name == queue.name for name, queue in queues.consume_from.items())


def test_without_a_choice_all_are_read(queues):
    queues.select([])
    assert list(queues.consume_from) == [*STEPS, "pipeline", "feed", "recordings.enigma", "completeness.enigma"]


def test_a_group_can_be_left_out(queues):
    queues.deselect(["steps"])
    assert list(queues.consume_from) == ["pipeline", "feed", "recordings.enigma", "completeness.enigma"]


def test_a_misspelt_queue_is_an_error(queues):
    with pytest.raises(KeyError):
        queues.select(["step"])


def test_the_application_has_them():
    assert app.amqp_cls is GroupedAMQP
    assert GroupedAMQP.queues_cls is GroupedQueues


def test_every_step_has_its_queue_its_route_and_its_task():
    names = {queue.name for queue in celeryconfig.task_queues}
    assert set(QUEUE.values()) <= names
    for row in TABLE:
        assert celeryconfig.task_routes[row.task] == {"queue": row.queue}
        assert flow.TASKS[row.step].name == row.task
    assert set(flow.TASKS) == set(QUEUE)
