"""Failures are released, batches reopened and sent again: nobody waits behind a step that hangs, and none is lost."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from sqlalchemy import text

from pipeline.batches.progress import _lock_key, lock_step, read_progress, reopen, take_overdue
from pipeline.batches.reconcile import reconcile
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.batches.set_aside import release
from pipeline.billing.load import release_waiting
from pipeline.database.engine import make_engine
from pipeline.failures.bulk import run_bulk
from pipeline.failures.bulk_rows import ask_for
from pipeline.failures.listing import FailureFilter
from pipeline.failures.operator import accept, edit
from pipeline.ingest.inbox import unfinished_batches
from tests.factories import make_record
from tests.integration.flow import NOW, load, receive, rows, sheet, walk, works


@pytest.fixture
def other(database_url):
    """Connections of somebody else."""
    engine = make_engine(database_url, application="other", lock_timeout_seconds=20)
    yield engine
    engine.dispose()


@contextlib.contextmanager
def held(engine, batch, step):
    """A worker that hangs has this step of a batch in hand."""
    with engine.begin() as connection:
        lock_step(connection, batch.batch_id, step)
        yield


def is_locked(engine, batch, step):
    """Whether anybody has a step of a batch."""
    with engine.connect() as connection:
        key = {"key": _lock_key(batch.batch_id, step)}
        return not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), key)


def waits_for_lock(engine):
    """Whether any backend waits for one."""
    return rows(
        engine, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid() AND locktype <> 'relation'"
    ) != [(0,)]


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def meanwhile(do):
    """Do something in a thread, and see that it ended well."""
    errors = []

    def run():
        try:
            do()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(25)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


@contextlib.contextmanager
def meanwhile_held(engine, batch, step, do):
    """Do something in a thread while a step of a batch is held, and then see that it ended well."""
    with engine.connect() as connection:
        holding = connection.begin()
        lock_step(connection, batch.batch_id, step)
        with meanwhile(do):
            try:
                yield
            finally:
                holding.rollback()


def due_bug(engine):
    """Every failure is a bug whose next try is due."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE failures SET class = 'bug', state = 'open', retry_at = now()"))


def without_a_rate(engine, batches, records=1):
    """Batches whose calls wait for a rate."""
    received = [receive(engine, *(make_record() for _ in range(records))) for _ in range(batches)]
    for batch in received:
        walk(engine, batch)
    return received


def test_what_stands_still_is_sent_though_a_step_is_held(engine, other):
    """A worker hangs in a step whose bug is due: overdue batches are sent, other bugs released, and nobody waits."""
    hung, free = without_a_rate(engine, 2)
    due_bug(engine)
    lost = receive(engine, make_record())
    sent = []
    with held(other, hung, Step.BILL):
        began = time.monotonic()
        due = reconcile(engine, limit=1, resend_after_seconds=10, send=lambda progress: sent.append(progress.batch))
        assert time.monotonic() - began < 2
    assert sent == [lost]
    assert due.released == 1
    assert rows(engine, f"SELECT state FROM failures WHERE record_id / 65536 = {free.batch_id}") == [("retrying",)]
    assert rows(engine, f"SELECT state FROM failures WHERE record_id / 65536 = {hung.batch_id}") == [("open",)]
    assert reconcile(engine, limit=1, resend_after_seconds=10).released == 1


def test_what_stands_still_is_sent_before_anything_that_may_wait(engine, other):
    """A frozen reconciler has its sign of life locked, and a frozen worker its batch's row: lost messages are sent."""
    (hung,) = without_a_rate(engine, 1)
    due_bug(engine)
    reconcile(engine, limit=10, resend_after_seconds=10, who="frozen")
    due_bug(engine)
    lost = receive(engine, make_record())
    sent = []
    with other.begin() as connection:
        connection.execute(text("SELECT FROM heartbeats FOR UPDATE"))
        connection.execute(text("SELECT FROM batches WHERE id = :id FOR UPDATE"), {"id": hung.batch_id})
        began = time.monotonic()
        with meanwhile(
            lambda: reconcile(engine, limit=10, resend_after_seconds=10, send=lambda each: sent.append(each.batch))
        ):
            eventually(lambda: sent == [lost], seconds=2)
    assert time.monotonic() - began < 5


def test_a_release_waits_for_the_step_that_runs(engine, other):
    """The step has read the batch before the failure was released: it must not mark done what it did not look at."""
    load(engine)
    batch = receive(engine, make_record(), make_record(number="+12125550123"))
    walk(engine, batch)
    with engine.begin() as connection:
        reopen(connection, batch.batch_id, Step.BILL)
    read, go_on = threading.Event(), threading.Event()

    def slowly(connection, span):
        failures = works(other)[Step.BILL](connection, span)
        read.set()
        assert go_on.wait(20)
        return failures

    def retry():
        with engine.begin() as connection:
            assert release(connection, [1]) == 1

    with meanwhile(lambda: run_step(other, batch.batch_id, Step.BILL, slowly, resend_after_seconds=10)):
        assert read.wait(20)
        with meanwhile(retry):
            eventually(lambda: waits_for_lock(engine))
            go_on.set()
    with engine.connect() as connection:
        progress = read_progress(connection, batch.batch_id)
    assert progress is not None
    assert progress.undone == {Step.BILL}
    assert sheet(engine).pending.records == 1


def test_batches_are_locked_in_their_order(engine, other):
    """Whoever takes several batches takes the lower ones first; another order would meet this one crosswise."""
    first, second, third = without_a_rate(engine, 3)

    def retry():
        with engine.begin() as connection:
            release(connection, [3, 1, 2])

    with meanwhile_held(other, second, Step.BILL, retry):
        eventually(lambda: waits_for_lock(other))
        assert is_locked(other, first, Step.BILL)
        assert not is_locked(other, third, Step.BILL)
        with other.begin() as connection:  # a step that runs may want them: they come after the steps
            assert len(connection.execute(text("SELECT FROM failures FOR UPDATE SKIP LOCKED")).all()) == 3


def test_steps_of_a_batch_are_locked_as_the_flow_goes(engine, other):
    """`bill` comes before `classify` as a word, and after it in the flow: an accepted conflict takes them so."""
    batch = receive(engine, make_record(), make_record())
    walk(engine, batch)
    with engine.begin() as connection:
        connection.execute(text("UPDATE failures SET step = 'classify' WHERE id = 1"))

    def retry():
        with engine.begin() as connection:
            assert release(connection, [1, 2]) == 2

    with meanwhile_held(other, batch, Step.CLASSIFY, retry):
        eventually(lambda: waits_for_lock(other))
        assert not is_locked(other, batch, Step.BILL)


@pytest.mark.parametrize("action", ["edit", "accept"])
def test_an_action_on_one_failure_takes_its_steps_first(engine, other, action):
    """While it waits for a step it holds no failure, for which that step might wait in turn."""
    load(engine)
    stored = receive(engine, make_record(call_ref=7))
    walk(engine, stored)
    bad = receive(engine, make_record(call_ref=7, call_time=600) if action == "accept" else b"rubbish")
    walk(engine, bad)
    act = {
        "edit": lambda: edit(engine, 1, make_record(), who="thandi", region="ZA", now=NOW),
        "accept": lambda: accept(engine, 1, who="thandi"),
    }[action]
    batch, step = {"edit": (bad, Step.NORMALIZE), "accept": (stored, Step.BILL)}[action]
    with meanwhile_held(other, batch, step, act):
        eventually(lambda: waits_for_lock(other))
        with other.begin() as connection:
            assert connection.execute(text("SELECT id FROM failures FOR UPDATE SKIP LOCKED")).all() == [(1,)]


def test_a_bulk_retry_neither_waits_nor_passes_over(engine, other, monkeypatch):
    """It stops before a batch that somebody has in hand, holds nothing meanwhile, and goes on when that is free."""
    monkeypatch.setattr("pipeline.failures.bulk.CHUNK", 3)
    batches = without_a_rate(engine, 5)
    with engine.begin() as connection:
        bulk_id = ask_for(connection, "retry", FailureFilter(), who="thandi", reason=None)
    with held(other, batches[3], Step.BILL):
        began = time.monotonic()
        assert run_bulk(engine, bulk_id, seconds=0.5, region="ZA") == (False, 3)
        assert time.monotonic() - began < 3
        assert run_bulk(engine, bulk_id, seconds=1e-9, region="ZA") == (False, 0)
        assert rows(engine, "SELECT looked_at, ended_at FROM bulk_actions") == [(3, None)]
    assert run_bulk(engine, bulk_id, seconds=60, region="ZA") == (True, 2)
    assert rows(engine, "SELECT state, count(*) FROM failures GROUP BY 1") == [("retrying", 5)]


def many_waiting(engine, number):
    """Failures that wait for a rate, each in a finished batch of its own."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO batches (claim, source, records, due_at, normalized_at, classified_at, billed_at, "
                "  recordings_scheduled_at, finished_at) "
                "SELECT gen_random_uuid(), 'enigma', 1, now(), now(), now(), now(), now(), now() "
                "FROM generate_series(1, :number)"
            ),
            {"number": number},
        )
        connection.execute(
            text(
                "INSERT INTO failures (record_id, step, class, state, source, reason) "
                "SELECT id << 16, 'bill', 'reference', 'open', 'enigma', 'no rate' FROM batches"
            )
        )


def test_thousands_of_batches_are_released_once_each_with_few_locks(engine, other):
    """Though each fails again at once: as much work as there is to release, and no more locks than a part has."""
    many_waiting(engine, 4_000)
    done, most = threading.Event(), [0]

    def fail_again():
        while not done.is_set():
            with other.begin() as connection:
                connection.execute(
                    text(
                        "UPDATE failures SET state = 'open', attempts = attempts + 1, "
                        "  last_failed_at = clock_timestamp() WHERE state = 'retrying'"
                    )
                )
                locks = connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
                most[0] = max(most[0], locks)

    with meanwhile(fail_again):
        try:
            assert release_waiting(engine) == 4_000
        finally:
            done.set()
    assert rows(engine, "SELECT min(attempts), max(attempts) FROM failures WHERE state = 'open'") in (
        [(2, 2)],
        [(1, 2)],
    )
    assert rows(engine, "SELECT count(*) FROM failures WHERE state = 'open' AND attempts = 1") == [(0,)]
    assert most[0] <= 200


def test_a_batch_in_hand_is_released_last_and_not_forgotten(engine, other):
    """The others do not wait for it, with all their locks; it is waited for when they are done."""
    many_waiting(engine, 3)
    with engine.connect() as connection:
        batch = read_progress(connection, 1).batch
    released = []
    with meanwhile_held(other, batch, Step.BILL, lambda: released.append(release_waiting(engine))):
        eventually(lambda: rows(other, "SELECT count(*) FROM failures WHERE state = 'retrying'") == [(2,)])
    assert released == [3]


def test_reopened_batches_do_not_fill_the_bound(engine):
    """What is retried is not counted among what is on its way for the first time, so the ingestor goes on claiming."""
    many_waiting(engine, 60)
    release_waiting(engine)
    receive(engine, make_record(), make_record())
    with engine.connect() as connection:
        unfinished, stopped = unfinished_batches(connection, "enigma", 50)
    assert (unfinished, stopped) == ((1, 2), False)


def test_reopened_batches_are_sent_few_at_a_time_and_lost_messages_at_once(engine):
    """A retry of everything neither stands in the queues before new batches nor delays the resend of a lost one."""
    many_waiting(engine, 60)
    release_waiting(engine)
    lost = receive(engine, make_record())

    def take():
        with engine.begin() as connection:
            return [each.batch.batch_id for each in take_overdue(connection, limit=25, resend_after_seconds=10)]

    taken = take()
    assert taken[-1] == lost.batch_id
    assert len(taken) == 26
    assert take() == []
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE batches SET finished_at = now() WHERE id = ANY(:ids)"), {"ids": [*taken[:10], lost.batch_id]}
        )
    assert len(take()) == 10


def test_reopened_batches_are_bounded_by_their_records_too(engine):
    """Large batches are sent fewer at a time, but one at least."""
    many_waiting(engine, 30)
    release_waiting(engine)
    for records, expected in ((2_000, 10), (60_000, 1)):
        with engine.begin() as connection:
            connection.execute(text("UPDATE batches SET due_at = now(), resends = 0, records = :n"), {"n": records})
        with engine.begin() as connection:
            assert len(take_overdue(connection, limit=100, resend_after_seconds=10)) == expected


def test_resends_come_later_each_time_jittered_and_capped(engine):
    """Batches lost together do not come back together, and none waits longer than six minutes and a quarter."""
    many_waiting(engine, 200)

    def waits(resends):
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE batches SET finished_at = NULL, due_at = now(), resends = :resends"), {"resends": resends}
            )
        with engine.begin() as connection:
            assert len(take_overdue(connection, limit=1_000, resend_after_seconds=10)) == 200
            seconds = connection.scalars(text("SELECT extract(epoch FROM due_at - now())::float8 FROM batches")).all()
        return min(seconds), max(seconds)

    for resends, usual in ((0, 10), (2, 40), (5, 300), (16, 300), (1_000, 300)):
        soonest, latest = waits(resends)
        assert usual * 0.75 - 0.01 <= soonest < usual * 0.85
        assert usual * 1.15 < latest <= usual * 1.25


def test_a_lock_that_is_held_on_to_is_told_from_an_outage(engine, other):
    """Only a lock is passed over; what else the database says, the reconciler hands on."""
    with other.begin() as connection:
        connection.execute(text("ALTER TABLE heartbeats RENAME TO elsewhere"))
    with pytest.raises(Exception, match="heartbeats"):
        reconcile(engine, limit=1, resend_after_seconds=1)
