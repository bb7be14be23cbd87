"""A record that kills its worker is found, and the rest of its batch goes on."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk, works


class WorkerKilled(BaseException):
    """Stands for the end of the process: nothing that catches errors catches it."""


@pytest.fixture
def poison(monkeypatch):
    """Normalizing a record of this reference ends the process."""
    from pipeline.calls import normalize  # noqa: PLC0415

    real = normalize.read_cdr

    def read(raw, **options):
        if b"poison" in raw:
            raise WorkerKilled
        return real(raw, **options)

    monkeypatch.setattr(normalize, "read_cdr", read)


@pytest.mark.parametrize("place", [0, 1, 777, 1_998, 1_999])
def test_the_poisonous_record_is_set_aside_alone(engine, poison, place):
    """Wherever it stands in its batch, a few deaths find it, and all other records become calls."""
    load(engine)
    records = [make_record() for _ in range(2_000)]
    records[place] = make_record(contact_ref="poison")
    batch = receive(engine, *records)
    deaths = 0
    lost = False
    while True:
        try:
            outcomes = walk(engine, batch, (Step.NORMALIZE,), worker_was_lost=lost)
        except WorkerKilled:
            deaths += 1
            lost = True
            continue
        break
    assert outcomes == ["done carefully"]
    assert deaths <= 6
    found = rows(engine, "SELECT record_id, class, error_type, retry_at FROM failures")
    assert [tuple(row) for row in found] == [(batch.batch_id * 65_536 + place, "bug", "WorkerLost", None)]
    walk(engine, batch, (Step.CLASSIFY, Step.BILL, Step.SCHEDULE_RECORDINGS))
    closed = sheet(engine)
    assert closed.closes, closed.violations
    assert (closed.processed.records, closed.quarantined.records) == (1_999, 1)
    assert rows(engine, "SELECT count(*) FROM probes") == [(0,)]


def test_a_false_suspicion_costs_nothing(engine):
    """A worker killed from outside makes its batch suspect; the batch is done in parts and none is set aside."""
    load(engine)
    batch = receive(engine, *(make_record() for _ in range(300)))
    assert walk(engine, batch, worker_was_lost=True) == ["done carefully"] * len(Step)
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert sheet(engine).processed.records == 300


def test_several_poisonous_records_are_all_found(engine, poison):
    """Each is set aside by itself."""
    records = [make_record() for _ in range(200)]
    for place in (3, 4, 150):
        records[place] = make_record(contact_ref="poison")
    batch = receive(engine, *records)
    for _ in range(40):
        try:
            walk(engine, batch, (Step.NORMALIZE,), worker_was_lost=True)
        except WorkerKilled:
            continue
        break
    assert rows(engine, "SELECT count(*) FROM failures") == [(3,)]
    assert rows(engine, "SELECT count(*) FROM calls") == [(197,)]


def parts(engine, batch, step, *, dies=(), real=None):
    """Work of a step that notes each part it is given, and dies or raises in the parts told."""
    real = real or works(engine)[step]
    seen = []

    def work(connection, span):
        seen.append(
            (span.first - batch.span.first, min(span.last, batch.span.first + batch.records - 1) - span.first + 1)
        )
        if len(seen) - 1 in dies:
            raise dies[len(seen) - 1]
        return real(connection, span)

    return work, seen


def do(engine, batch, step, work, **options):
    return run_step(engine, batch.batch_id, step, work, resend_after_seconds=10, **options)


def suspect(engine):
    """The reconciler has sent everything again twice, in vain."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET resends = 2"))


LOCK_TIMEOUT = OperationalError("INSERT", None, psycopg.errors.LockNotAvailable("canceling statement"))


@pytest.mark.parametrize(
    "error",
    [LOCK_TIMEOUT, MemoryError(), SystemExit(1), SoftTimeLimitExceeded(240)],
    ids=lambda error: type(error).__name__,
)
def test_what_was_caught_is_no_death(engine, error):
    """However often a part is broken off by an error, its record is not to blame while no process was lost."""
    load(engine)
    batch = receive(engine, make_record())
    walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
    for _ in range(5):
        suspect(engine)
        work, _ = parts(engine, batch, Step.BILL, dies={0: error})
        with pytest.raises(type(error)):
            do(engine, batch, Step.BILL, work)
    suspect(engine)
    assert walk(engine, batch, (Step.BILL, Step.SCHEDULE_RECORDINGS)) == ["done carefully", "done"]
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert sheet(engine).processed.records == 1


def test_a_lost_connection_is_no_death(engine):
    """The session of whoever has a part in hand ends; the part is given back over another."""
    load(engine)
    batch = receive(engine, make_record())

    def cut(connection, span):
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    for _ in range(4):
        with pytest.raises(OperationalError):
            do(engine, batch, Step.NORMALIZE, cut, worker_was_lost=True)
    assert walk(engine, batch) == ["done"] * len(Step)
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]


def test_a_part_of_before_the_databases_restart_is_no_death(engine):
    """Nobody could give it back then: what stopped was the database."""
    batch = receive(engine, make_record())
    for _ in range(4):
        work, _ = parts(engine, batch, Step.NORMALIZE, dies={0: WorkerKilled()})
        with pytest.raises(WorkerKilled):
            do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
        with engine.begin() as connection:
            connection.execute(text("UPDATE probes SET server_started_at = server_started_at - interval '1 hour'"))
    assert walk(engine, batch, (Step.NORMALIZE,), worker_was_lost=True) == ["done carefully"]
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]


@pytest.mark.parametrize("records", [1, 2, 20, 31])
def test_one_death_names_nobody(engine, records):
    """A worker that is killed once from outside, wherever that is, sets no record of a small batch aside."""
    for nth in range(8):
        batch = receive(engine, *(make_record() for _ in range(records)))
        work, _ = parts(engine, batch, Step.NORMALIZE, dies={nth: WorkerKilled()})
        with contextlib.suppress(WorkerKilled):
            do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
        walk(engine, batch, (Step.NORMALIZE,), worker_was_lost=True)
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM calls") == [(8 * records,)]


def test_a_small_batch_begins_as_one_part(engine):
    """Twenty records are one part, not twenty commits; after a death there it is taken up smaller."""
    batch = receive(engine, *(make_record() for _ in range(20)))
    work, seen = parts(engine, batch, Step.NORMALIZE, dies={0: WorkerKilled()})
    with pytest.raises(WorkerKilled):
        do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
    do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
    assert seen == [(0, 20), *((place, 2) for place in range(0, 20, 2))]


def test_the_record_a_bug_stumbles_over_keeps_its_traceback(engine):
    """A bug that breaks a whole part off is halved down to its record, in one run and without a death."""
    load(engine)
    batch = receive(engine, *(make_record(call_ref=number) for number in range(100)))
    real = works(engine)[Step.NORMALIZE]

    def buggy(connection, span):
        if span.first <= batch.span.first + 77 <= span.last and rows_left(engine, 77, batch):
            raise KeyError("a real bug")
        return real(connection, span)

    result = do(engine, batch, Step.NORMALIZE, buggy, worker_was_lost=True)
    assert (result.outcome, result.set_aside) == ("done carefully", 1)
    (found,) = rows(engine, "SELECT record_id, error_type, traceback, retry_at IS NOT NULL AS again FROM failures")
    assert (found.record_id - batch.span.first, found.error_type, found.again) == (77, "KeyError", True)
    assert "a real bug" in found.traceback
    assert "in buggy" in found.traceback
    walk(engine, batch)
    assert sheet(engine).processed.records == 99


def rows_left(engine, place, batch):
    return not rows(engine, f"SELECT FROM failures WHERE record_id = {batch.span.first + place}")


def test_nothing_remembers_a_step_that_is_done_the_ordinary_way(engine):
    """Its part was given back or not; months later, a retry must not begin in the middle or blame anybody."""
    load(engine)
    batch = receive(engine, *(make_record() for _ in range(50)))
    work, _ = parts(engine, batch, Step.NORMALIZE, dies={1: WorkerKilled()})
    with pytest.raises(WorkerKilled):
        do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
    assert rows(engine, "SELECT count(*) FROM probes") == [(1,)]
    assert walk(engine, batch) == ["done"] * len(Step)
    assert rows(engine, "SELECT count(*) FROM probes") == [(0,)]


def test_a_record_released_behind_the_part_in_hand_is_not_passed_over(engine):
    """Reopening a batch begins its parts anew: the call is charged, not merely no longer failed."""
    load(engine)
    batch = receive(engine, make_record(number="+12125550123"), *(make_record() for _ in range(60)))
    walk(engine, batch, (Step.NORMALIZE, Step.CLASSIFY))
    work, _ = parts(engine, batch, Step.BILL, dies={1: LOCK_TIMEOUT})
    with pytest.raises(OperationalError):  # the first part is done, and its call without a rate set aside
        do(engine, batch, Step.BILL, work, worker_was_lost=True)
    load(engine, b"prefix,rate_per_minute\n27,0.60\n1,0.60\n")
    assert walk(engine, batch, (Step.BILL,), worker_was_lost=True) == ["done carefully"]
    walk(engine, batch)
    assert rows(engine, "SELECT count(*) FROM ledger") == [(61,)]
    closed = sheet(engine)
    assert closed.closes, closed.violations


def test_a_give_back_that_fails_blames_nobody_by_itself(engine, monkeypatch):
    """The database is away for the process that would give its part back; one such death is not enough."""
    load(engine)
    batch = receive(engine, make_record())
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.batches.in_parts.GIVE_BACK_AFTER_SECONDS", ())
        work, _ = parts(engine, batch, Step.NORMALIZE, dies={0: LOCK_TIMEOUT})
        with pytest.raises(OperationalError):
            do(engine, batch, Step.NORMALIZE, work, worker_was_lost=True)
    assert walk(engine, batch, worker_was_lost=True) == ["done carefully"] * len(Step)
    assert rows(engine, "SELECT count(*) FROM failures") == [(0,)]
