"""A contact is asked for only where its calls can be, and all of them are found."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from pipeline.contacts.rows import differences
from tests.factories import make_record
from tests.integration.flow import load, receive, walk
from tests.integration.ranges.test_move import next_month

SEPTEMBER, NOVEMBER = (int(datetime(2026, month, 10, tzinfo=UTC).timestamp()) for month in (9, 11))


@pytest.fixture
def months(engine):
    """Two ranges, of which the second began in November."""
    load(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE ranges SET began_at = '2026-11-01 00:00+00' WHERE name <> 'first'"))
    return engine


def called(engine, ref, at, *, done=True):
    batch = receive(engine, make_record(call_ref=ref, contact_ref="thandi", dialed_at=at, call_time=61))
    if done:
        walk(engine, batch)
    return batch


def attempts(engine):
    with engine.connect() as connection:
        assert differences(connection, "", "zz") == []
        return connection.scalar(text("SELECT attempts FROM contacts WHERE contact_ref = 'thandi'"))


def test_calls_of_two_ranges_are_counted(months):
    """Its first call was dialled before the second range began."""
    called(months, 1, SEPTEMBER)
    next_month(months)
    called(months, 2, NOVEMBER)
    assert attempts(months) == 2
    called(months, 3, NOVEMBER + 60)
    assert attempts(months) == 3


def test_a_batch_that_waited_in_the_first_range_is_counted_after_all(months):
    """Its contact was made meanwhile by a call of the second, which is all that its row knows of."""
    late = called(months, 1, SEPTEMBER, done=False)
    next_month(months)
    called(months, 2, NOVEMBER)
    walk(months, late)
    assert attempts(months) == 2
    called(months, 3, NOVEMBER + 60)
    assert attempts(months) == 3


def test_a_call_that_was_dialled_late_but_numbered_early(months):
    """Beat was down when its month began: its record is numbered into the range before."""
    called(months, 1, NOVEMBER)
    next_month(months)
    with months.begin() as connection:
        connection.execute(text("UPDATE ranges SET began_at = '2026-11-20 00:00+00' WHERE name <> 'first'"))
    called(months, 2, NOVEMBER + 60)
    assert attempts(months) == 2
