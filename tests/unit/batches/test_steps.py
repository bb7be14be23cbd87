"""The order of the steps, by their table alone."""

from __future__ import annotations

import itertools

import pytest

from pipeline.batches.progress import _lock_key
from pipeline.batches.rules.batch import Batch
from pipeline.batches.rules.steps import (
    ADDED,
    CONCURRENT,
    DOWNSTREAM,
    MARK,
    QUEUE,
    TABLE,
    TASK,
    UPSTREAM,
    Progress,
    Step,
)

NORMALIZE, CLASSIFY, BILL, SCHEDULE, CONTACTS = Step
SUBSETS = [frozenset(some) for size in range(len(Step) + 1) for some in itertools.combinations(Step, size)]


def progress(undone: frozenset[Step]) -> Progress:
    return Progress(Batch(1, "enigma", 2), undone)


def test_every_version_takes_the_same_locks():
    """Those of the version before, and of `accept_conflict` in the database; a step added since has its own."""
    assert [_lock_key(7, step) for step in (NORMALIZE, CLASSIFY, BILL, SCHEDULE)] == [28, 29, 30, 31]
    added = {_lock_key(batch_id, step) for batch_id in range(1, 50) for step in ADDED}
    assert len(added) == 49 * len(ADDED)
    assert max(added) < 0


def test_every_step_has_one_row_in_the_order_of_the_flow():
    """The locks of a batch are taken in this order, and a row may only come after those above it."""
    assert [row.step for row in TABLE] == list(Step)
    for place, row in enumerate(TABLE):
        assert set(row.after) <= {above.step for above in TABLE[:place]}


def test_no_two_steps_share_a_column_a_task_or_a_queue():
    for said in (MARK, TASK, QUEUE):
        assert len(set(said.values())) == len(said) == len(Step)


def test_what_a_running_deployment_knows_of_the_steps():
    """Columns, tasks and queues that are in databases and brokers."""
    assert MARK == {
        NORMALIZE: "normalized_at",
        CLASSIFY: "classified_at",
        BILL: "billed_at",
        SCHEDULE: "recordings_scheduled_at",
        CONTACTS: "contacts_updated_at",
    }
    assert list(TASK.values()) == [
        "cdr.normalize",
        "cdr.classify",
        "cdr.bill",
        "cdr.schedule_recordings",
        "cdr.update_contacts",
    ]
    assert TASK == QUEUE


def test_what_comes_before_after_and_beside():
    assert {
        NORMALIZE: set(),
        CLASSIFY: {NORMALIZE},
        BILL: {NORMALIZE, CLASSIFY},
        SCHEDULE: {NORMALIZE, CLASSIFY},
        CONTACTS: {NORMALIZE, CLASSIFY},
    } == UPSTREAM
    assert DOWNSTREAM == {
        NORMALIZE: (NORMALIZE, CLASSIFY, BILL, SCHEDULE, CONTACTS),
        CLASSIFY: (CLASSIFY, BILL, SCHEDULE, CONTACTS),
        BILL: (BILL,),
        SCHEDULE: (SCHEDULE,),
        CONTACTS: (CONTACTS,),
    }
    assert {
        NORMALIZE: {NORMALIZE},
        CLASSIFY: {CLASSIFY},
        BILL: {BILL, SCHEDULE, CONTACTS},
        SCHEDULE: {BILL, SCHEDULE, CONTACTS},
        CONTACTS: {BILL, SCHEDULE, CONTACTS},
    } == CONCURRENT


@pytest.mark.parametrize("undone", SUBSETS)
def test_what_is_sent_next_waits_for_nothing_undone(undone):
    """Whatever is undone, which a release may have made any of them: something is sent, and nothing too early."""
    following = progress(undone).next_steps()
    assert bool(following) == bool(undone)
    assert set(following) <= undone
    for step in following:
        assert not UPSTREAM[step] & undone


@pytest.mark.parametrize(
    ("undone", "following"),
    [
        ({NORMALIZE, CLASSIFY, BILL, SCHEDULE, CONTACTS}, (NORMALIZE,)),
        ({NORMALIZE, BILL}, (NORMALIZE,)),
        ({CLASSIFY, BILL, SCHEDULE, CONTACTS}, (CLASSIFY,)),
        ({BILL, SCHEDULE, CONTACTS}, (BILL, SCHEDULE, CONTACTS)),
        ({SCHEDULE}, (SCHEDULE,)),
        ({CONTACTS}, (CONTACTS,)),
        (set(), ()),
    ],
)
def test_the_flow(undone, following):
    assert progress(frozenset(undone)).next_steps() == following


@pytest.mark.parametrize(
    "order", [order for order in itertools.permutations(Step) if order[:2] == (NORMALIZE, CLASSIFY)]
)
def test_along_the_flow_every_step_is_sent_once(order):
    """Whichever of those side by side ends first, the other's message is on its way already."""
    undone = set(Step)
    sent = list(progress(frozenset(undone)).next_steps())
    for step in order:
        undone.remove(step)
        sent += progress(frozenset(undone)).steps_after(step)
    assert sent == list(Step)


def test_a_step_that_came_too_early_sends_what_it_waits_for():
    assert progress(frozenset({CLASSIFY, BILL})).steps_after(BILL) == (CLASSIFY,)
