"""What waits and how fast it moves, counted from rows."""

from __future__ import annotations

from sqlalchemy import text

from pipeline.batches.backlog import BUCKET_SECONDS, BUCKETS, backlog, throughput
from pipeline.batches.rules.steps import Step
from pipeline.batches.sources import known_sources
from pipeline.recordings.listing import recordings_by_state
from tests.factories import make_record
from tests.integration.flow import load, receive, walk


def test_each_batch_waits_for_the_step_whose_turn_it_is(engine):
    """One that is done with waits for nothing; the last two steps wait side by side."""
    load(engine)
    batches = [receive(engine, *(make_record() for _ in range(count))) for count in (1, 2, 3, 4)]
    for batch, steps in zip(
        batches, ((), (Step.NORMALIZE,), (Step.NORMALIZE, Step.CLASSIFY), tuple(Step)), strict=True
    ):
        walk(engine, batch, steps)
    with engine.connect() as connection:
        waiting = backlog(connection)
    assert [(each.step, each.batches, each.records) for each in waiting] == [
        ("normalize", 1, 1),
        ("classify", 1, 2),
        ("bill", 1, 3),
        ("schedule_recordings", 1, 3),
    ]
    assert all(each.oldest_at.utcoffset() is not None for each in waiting)


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
        assert backlog(connection) == []
