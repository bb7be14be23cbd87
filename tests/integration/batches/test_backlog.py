"""What waits and how fast it moves, counted from rows."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.batches.backlog import BUCKET_SECONDS, BUCKETS, DEEP_RECORDS, backlog, is_deep, throughput
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import release
from pipeline.batches.sources import known_sources
from pipeline.failures.operator import accept
from pipeline.monitoring.pending import PENDING
from pipeline.recordings.listing import recordings_by_state
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, walk_overdue


def test_each_batch_waits_for_the_step_whose_turn_it_is(engine):
    """One that is done with waits for nothing; the last three steps wait side by side."""
    load(engine)
    batches = [receive(engine, *(make_record() for _ in range(count))) for count in (1, 2, 3, 4)]
    for batch, steps in zip(
        batches, ((), (Step.NORMALIZE,), (Step.NORMALIZE, Step.CLASSIFY), tuple(Step)), strict=True
    ):
        walk(engine, batch, steps)
    with engine.connect() as connection:
        whole, waiting = backlog(connection)
    assert whole == 6
    assert [(each.step, each.batches, each.records) for each in waiting] == [
        ("normalize", 1, 1),
        ("classify", 1, 2),
        ("bill", 1, 3),
        ("schedule_recordings", 1, 3),
        ("update_contacts", 1, 3),
    ]
    assert all(each.oldest_at.utcoffset() is not None for each in waiting)


def waits(engine, source=None):
    """How many records wait at all, and how many for which step; the balance sheet says the same of all of them."""
    with engine.connect() as connection:
        whole, steps = backlog(connection, source=source)
    if source is None:
        assert sheet(engine).pending.records == whole
    return whole, {each.step: each.records for each in steps}


def test_a_batch_opened_again_counts_what_is_tried_again_only(engine):
    """What was set aside in a batch of twenty is retried: nothing else of it waits, at this step or a later one."""
    batch = receive(engine, *(make_record() for _ in range(17)), b"rubbish", make_record(call_time=-1), make_record())
    walk(engine, batch)
    assert waits(engine) == (0, {})
    load(engine)  # what had no rate is tried again
    assert waits(engine) == (18, {"bill": 18})
    walk(engine, batch, (Step.BILL,))
    assert waits(engine) == (0, {})
    with engine.begin() as connection:
        release(connection, [rows(engine, "SELECT min(id) FROM failures WHERE step = 'normalize'")[0][0]])
    assert waits(engine) == (1, {"normalize": 1})


def test_a_record_goes_from_step_to_step_by_itself(engine):
    """Half of a batch is ahead of the rest: each record waits for its own next step, and once on the whole."""
    load(engine)
    first = receive(engine, make_record(call_ref=1), make_record(call_ref=2, call_time=0), make_record(call_ref=1))
    assert waits(engine) == (3, {"normalize": 3})
    walk(engine, first, (Step.NORMALIZE,))
    assert waits(engine) == (2, {"classify": 2})
    walk(engine, first, (Step.CLASSIFY,))
    assert waits(engine) == (2, {"bill": 2, "schedule_recordings": 2, "update_contacts": 2})
    walk(engine, first, (Step.SCHEDULE_RECORDINGS,))
    assert waits(engine) == (2, {"bill": 2, "update_contacts": 2})
    walk(engine, first, (Step.UPDATE_CONTACTS,))
    assert waits(engine) == (2, {"bill": 2})
    receive(engine, make_record(), source="north")
    assert waits(engine, source="north") == (1, {"normalize": 1})
    assert waits(engine)[0] == 3


def test_a_charge_that_was_taken_back_waits_to_be_made_anew(engine):
    """A conflict that was accepted: one call of the batch waits to be billed, though a line of it is in the ledger."""
    load(engine)
    batch = receive(engine, *(make_record(call_ref=ref) for ref in range(5)))
    walk(engine, batch)
    second = receive(engine, make_record(call_ref=3, call_time=600))
    walk(engine, second)
    [(failure,)] = rows(engine, "SELECT id FROM failures WHERE class = 'conflict'")
    accept(engine, failure, who="tests")
    whole, steps = waits(engine)
    assert whole >= 1
    assert sum(steps.values()) < 5
    assert walk_overdue(engine)
    assert waits(engine) == (0, {})


def test_the_steps_of_the_count_are_those_of_the_table(engine):
    """A step that is added to the one table must be counted, too."""
    with engine.connect() as connection:
        columns = connection.execute(text(PENDING)).keys()
    assert {step.value for step in Step} <= set(columns)


def test_throughput_counts_records_of_every_source_by_when(engine):
    """What came in and what was done with, each at its own time; what is older than the span is left out."""
    load(engine)
    for source, seconds in (("one", 5), ("two", 25), ("two", BUCKET_SECONDS * BUCKETS + 60)):
        walk(engine, receive(engine, *(make_record() for _ in range(10)), source=source))
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE batches SET received_at = now() - make_interval(secs => :ago) "
                    "WHERE id = (SELECT max(id) FROM batches)"
                ),
                {"ago": seconds},
            )
    with engine.connect() as connection:
        assert known_sources(connection) == ["one", "two"]
        moved = throughput(connection)
    assert len(moved.received) == len(moved.finished) == BUCKETS
    assert (moved.received[-1], moved.received[-3], sum(moved.received)) == (1.0, 1.0, 2.0)
    assert sum(moved.finished[-2:]) == 3.0


def test_recordings_are_counted_by_state(engine):
    """Only states that have any."""
    walk(engine, receive(engine, make_record(), make_record()))
    with engine.connect() as connection:
        assert recordings_by_state(connection) == {"scheduled": 2}
        assert backlog(connection) == (0, [])


@pytest.mark.parametrize(
    ("records", "otherwise", "deep"),
    [
        (2_500, "due_at = now()", True),
        (2_499, "due_at = now()", False),
        (5_000, "finished_at = now()", False),
        (5_000, "reopened_at = now()", False),
        (5_000, "resends = 1", False),
    ],
)
def test_a_backlog_is_deep_while_many_records_move(engine, records, otherwise, deep):
    """What is done with, what was opened again and what stands still keep nobody's processor busy."""
    assert DEEP_RECORDS == 5_000
    with engine.begin() as connection:
        assert not is_deep(connection)
        for _ in range(2):
            connection.execute(
                text(
                    "INSERT INTO batches (claim, source, records, due_at) "
                    "VALUES (gen_random_uuid(), 'enigma', :records, now())"
                ),
                {"records": records},
            )
        connection.execute(text(f"UPDATE batches SET {otherwise}"))
        assert is_deep(connection) == deep
