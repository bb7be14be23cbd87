"""A batch goes through all its steps in one transaction, to the same effect as step by step."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pipeline.batches.progress import lock_step
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_all_steps
from pipeline.batches.set_aside import retry_due_bugs
from pipeline.database.engine import make_engine
from tests.conftest import own_database
from tests.factories import make_record
from tests.integration.flow import handing, load, receive, rows, sheet, walk, walk_overdue, works

WRITTEN = {
    "calls": "call_ref, client_number, direction, talk_seconds, end_reason, content_hash",
    "dispositions": "call_id, disposition, can_be_billed, can_have_audio",
    "ledger": "call_id, kind, amount, currency, billable_seconds",
    "uncharged": "call_id, reason",
    "recordings": "call_id, state",
    "duplicates": "record_id, call_id",
    "failures": "record_id, step, class, state, reason",
    "batches": "records, resends, finished_at IS NULL, billed_at IS NULL, normalized_at IS NULL, classified_at IS NULL",
}


BUSY = {"end_reason": "busy", "end_code": "17", "extension": None, "call_time": 0}


@pytest.fixture
def other_engine(template):
    """A second database."""
    with own_database(template) as url:
        engine = make_engine(url, application="test")
        yield engine
        engine.dispose()


def whole(engine, batch, *, at_most=50, few=False, **other_works):
    return run_all_steps(
        engine,
        batch.batch_id,
        lambda stored: handing(engine)(stored) | {Step(name): work for name, work in other_works.items()},
        at_most=at_most,
        few=few,
        resend_after_seconds=10,
    )


def written(engine):
    return {
        table: sorted(map(repr, rows(engine, f"SELECT {columns} FROM {table}"))) for table, columns in WRITTEN.items()
    }


@pytest.mark.parametrize("few", [False, True])
def test_what_is_written_is_what_the_steps_write(engine, other_engine, few):
    """Answered, busy, repeated, contradicted and broken records, a call without a rate: row by row the same."""
    records = [
        make_record(call_ref=1),
        make_record(call_ref=2, **BUSY),
        make_record(call_ref=1),
        make_record(call_ref=2, call_time=33),
        make_record(call_ref=3, call_time=-1),
        make_record(call_ref=4, number="0012125550100"),
        b"rubbish",
    ]
    for each in (engine, other_engine):
        load(each)
    one, other = receive(engine, *records), receive(other_engine, *records)
    done = whole(engine, one, few=few)
    assert done is not None
    progress, steps = done
    assert not progress.undone
    assert list(steps) == list(Step)
    assert walk(other_engine, other) == ["done"] * len(Step)
    assert written(engine) == written(other_engine)
    assert {step: each.set_aside for step, each in steps.items()} == {
        Step.NORMALIZE: 3,
        Step.CLASSIFY: 0,
        Step.BILL: 1,
        Step.SCHEDULE_RECORDINGS: 0,
        Step.UPDATE_CONTACTS: 0,
    }
    assert sheet(engine).closes


PLANNING = "SELECT name, setting FROM pg_settings WHERE name IN ('plan_cache_mode', 'enable_seqscan') ORDER BY name"
KEPT_PLANS = [("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")]
PLANS = [("enable_seqscan", "on"), ("plan_cache_mode", "auto")]


def test_for_few_records_nothing_is_planned_anew(engine):
    """Within their transaction only: a batch of many has plans of its own, and so has whoever comes next."""
    load(engine)
    seen = []

    def see(connection, _):
        seen.append(connection.execute(text(PLANNING)).all())
        return []

    for few in (True, False, True):
        assert whole(engine, receive(engine, make_record(call_ref=1)), few=few, classify=see)
    assert seen == [KEPT_PLANS, PLANS, KEPT_PLANS]
    assert rows(engine, PLANNING) == PLANS


def test_a_plan_that_was_made_while_tables_were_empty_finds_rows_by_their_keys(engine):
    """Nobody analyses them between the first batch of a month and the thousandth call."""
    load(engine)
    worker = engine.execution_options(isolation_level="READ COMMITTED")

    def read():
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            return connection.scalar(
                text(
                    "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables "
                    "WHERE relname ~ '^(inbox|calls|dispositions|ledger|recordings|contacts)'"
                )
            )

    for first in range(0, 200, 10):
        assert whole(worker, receive(engine, *(make_record(call_ref=first + n) for n in range(10))), few=True)
    before = read()
    assert whole(worker, receive(engine, *(make_record(call_ref=900 + n) for n in range(10))), few=True)
    with worker.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    assert read() - before < 200


def is_moment(name):
    return name.endswith(("_at", "counts_from"))


def everything(engine):
    """Every column of what the steps write, but for the instants of writing."""
    return {
        table: sorted(
            str([value for name, value in row._mapping.items() if name.endswith("dialed_at") or not is_moment(name)])
            for row in rows(engine, f"SELECT * FROM {table}")
        )
        for table in ("calls", "call_keys", "dispositions", "ledger", "uncharged", "recordings", "contacts", "failures")
    }


KINDS = (
    {"call_time": 61},
    BUSY,
    {"number": "0012125550100"},
    {"number": None},
    {"number": "12x"},
    {"dial_number": None, "hold_time": 7, "extension": None},
    {"call_dir": "inbound", "end_reason": "agent_hungup"},
    {"call_time": 0, "end_reason": "cancel", "extension": None},
    {"call_ref": None},
    {"recording_url": None},
    {"contact_ref": "x" * 300, "something": {"else": [1, 2]}},
    {"dialed_at": "2026-09-21T16:13:20.5+02:00", "end_code": None, "end_reason": "something new"},
    {"call_time": -1},
    {"contact_ref": "often", **BUSY},
    {"contact_ref": "often", "call_time": 5},
    {"contact_ref": "often", "call_time": 9, "call_ref": 8_000},
    {"contact_ref": "often", "ref": "another"},
    {"contact_ref": "often", "call_dir": "inbound", "end_reason": "agent_hungup"},
)


@pytest.mark.parametrize("together", ["all", "all that have a reference", "none"])
def test_what_is_handed_on_is_what_would_be_read(engine, other_engine, monkeypatch, together):
    """Calls of every kind, all of them new, so that no step looks at what the one before it wrote."""
    records = [make_record(**{"call_ref": 9_000 + number} | kind) for number, kind in enumerate(KINDS)]
    records += [make_record(call_ref=9_100).replace(b'"cdr"', b'"pulled"')]
    if together == "all that have a reference":
        records = [record for record in records if b'"call_ref": null' not in record]
    for each in (engine, other_engine):
        load(each)
    for some in [[record] for record in records] if together == "none" else [records]:
        with monkeypatch.context() as patched:
            patched.delattr("pipeline.calls.classify.unclassified_calls")
            patched.delattr("pipeline.billing.bill.unbilled_calls")
            assert whole(engine, receive(engine, *some)) is not None
        assert walk(other_engine, receive(other_engine, *some)) == ["done"] * len(Step)
    assert everything(engine) == everything(other_engine)
    due = "SELECT DISTINCT due_at - scheduled_at, counts_from - due_at FROM recordings WHERE state = 'scheduled'"
    assert rows(engine, due) == rows(other_engine, due) == [(timedelta(seconds=5), timedelta(0))]
    assert rows(engine, "SELECT count(*) FROM calls") == [(len(records) - 1,)]
    assert sheet(engine).closes


def test_a_call_that_was_there_before_is_read(engine):
    """Careful mode stored one record and was killed: the batch looks untouched, and no step may forget that one."""
    load(engine)
    batch = receive(engine, *(make_record() for _ in range(3)))
    with engine.begin() as connection:
        works(engine)[Step.NORMALIZE](connection, batch.span._replace(last=batch.span.first))
    assert whole(engine, batch) is not None
    assert rows(engine, "SELECT count(*) FROM ledger") == [(3,)]
    assert sheet(engine).closes


@pytest.mark.parametrize("step", Step)
def test_an_error_in_any_step_leaves_nothing_behind(engine, step):
    """The batch then goes step by step, where the error shows as that step's."""
    load(engine)
    batch = receive(engine, make_record())

    def broken(connection, span):
        works(engine)[step](connection, span)
        raise KeyError("a bug")

    assert whole(engine, batch, **{step.value: broken}) is None
    assert rows(engine, "SELECT count(*) FROM calls") == [(0,)]
    assert rows(engine, "SELECT count(*) FROM batches WHERE coalesce(normalized_at, finished_at) IS NOT NULL") == [(0,)]
    assert walk(engine, batch) == ["done"] * len(Step)


def test_an_outage_is_not_taken_for_a_records_fault(engine):
    """It ends the task, which waits; trying again step by step would only meet it again."""
    load(engine)
    batch = receive(engine, make_record())

    def cut_off(connection, span):
        del span
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(OperationalError):
        whole(engine, batch, classify=cut_off)
    assert whole(engine, batch) is not None


def test_only_what_is_small_and_untouched_goes_at_once(engine):
    """Not a large batch, none with a step done, none sent again, none that there is not."""
    load(engine)
    batch = receive(engine, make_record(), make_record())
    assert whole(engine, batch, at_most=1) is None
    assert whole(engine, batch._replace(batch_id=batch.batch_id + 1)) is None
    assert walk_one(engine, batch) == ["done"]
    assert whole(engine, batch) is None
    again = receive(engine, make_record())
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET resends = 1 WHERE id = :id"), {"id": again.batch_id})
    assert whole(engine, again) is None


def walk_one(engine, batch):
    return walk(engine, batch, (Step.NORMALIZE,))


def test_a_record_that_is_tried_again_is_tried_by_its_own_step(engine):
    """A bug was set aside in a small batch; released, its batch goes step by step, and the failure ends as resolved."""
    load(engine)
    batch = receive(engine, make_record(), make_record())

    def bug_in_first(connection, span):
        from pipeline.batches.isolation import bug  # noqa: PLC0415

        works(engine)[Step.CLASSIFY](connection, span)
        connection.execute(text("DELETE FROM dispositions WHERE call_id = :id"), {"id": span.first})
        return [bug(span.first, KeyError("first"))]

    assert whole(engine, batch, classify=bug_in_first) is not None
    assert rows(engine, "SELECT step, state FROM failures") == [("classify", "open")]
    with engine.begin() as connection:
        connection.execute(text("UPDATE failures SET retry_at = now()"))
        assert retry_due_bugs(connection, limit=10) == 1
    assert whole(engine, batch) is None
    assert walk_overdue(engine) == 1
    assert rows(engine, "SELECT step, state FROM failures") == [("classify", "resolved")]
    assert rows(engine, "SELECT count(*) FROM ledger") == [(2,)]
    assert sheet(engine).closes


def test_two_at_once_work_one_after_the_other(engine):
    """The same message delivered twice: the second waits for the first, and finds nothing to do."""
    load(engine)
    batch = receive(engine, make_record())
    answers = []
    with engine.begin() as connection:
        lock_step(connection, batch.batch_id, Step.BILL)
        threads = [threading.Thread(target=lambda: answers.append(whole(engine, batch))) for _ in range(2)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answer is None for answer in answers) == [False, True]
    assert rows(engine, "SELECT count(*) FROM ledger") == [(1,)]
