"""What Flower remembers of the tasks of batches that stand still."""

from __future__ import annotations

import itertools

import pytest
from flower.events import EventsState

from pipeline.flower.task_errors import LONGEST, errors_of


@pytest.fixture
def state():
    return EventsState()


@pytest.fixture
def happens(state):
    """Events of one task, as a worker sends them."""
    clock = itertools.count(1)

    def happens(task_id, kind, **fields):
        at = next(clock)
        told = {"hostname": "w@h", "timestamp": at, "local_received": at, "clock": at, "pid": 1, "utcoffset": 0}
        state.event({"type": kind, "uuid": task_id, **told, **fields})

    return happens


def received(happens, task_id, batch_id, name="cdr.classify"):
    kwargs = repr({"batch_id": batch_id, "source": "enigma", "records": 3})
    happens(task_id, "task-received", name=name, args="()", kwargs=kwargs)


def test_the_last_error_of_a_batch_is_found_with_its_task(state, happens):
    """Of the batches asked for only, and nothing of a task that did not fail."""
    for task_id, batch_id, error in (("a", 7, "first"), ("b", 7, "KeyError('x')"), ("c", 8, "other"), ("d", 9, None)):
        received(happens, task_id, batch_id)
        if error:
            happens(task_id, "task-failed", exception=error, traceback="")
        else:
            happens(task_id, "task-succeeded", result="'done'", runtime=1.0)
    assert errors_of(state, {7, 9, 10}) == {7: ("KeyError('x')", "b")}


def test_a_wait_for_the_database_counts_as_one(state, happens):
    """A table that is missing or locked ends the task in good order, and the batch stands all the same."""
    received(happens, "a", 7)
    happens("a", "task-succeeded", result="'waits: the database is away'", runtime=1.0)
    assert errors_of(state, {7}) == {7: ("'waits: the database is away'", "a")}


def test_an_error_is_shortened_and_harmless(state, happens):
    """It may quote a record."""
    received(happens, "a", 7)
    happens("a", "task-failed", exception="\u202e" + "x" * 1_000, traceback="")
    says = errors_of(state, {7})[7].says
    assert says.startswith("\\u202exx")
    assert len(says) == LONGEST


def test_tasks_of_others_are_not_taken_for_a_batch(state, happens):
    """Whatever their arguments say; and one whose beginning Flower did not see has none."""
    received(happens, "a", 7, name="recordings.fetch")
    happens("a", "task-failed", exception="no", traceback="")
    happens("b", "task-failed", exception="no", traceback="")
    assert errors_of(state, {7}) == {}
