"""The steps on real PostgreSQL: raw records in, calls, dispositions and ledger lines out."""

from __future__ import annotations

import threading
from decimal import Decimal

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from pipeline.batches.progress import take_overdue
from pipeline.batches.rules.steps import Step
from pipeline.batches.run import run_step
from pipeline.batches.set_aside import retry_due_bugs
from pipeline.calls.call_rows import copy_calls, insert_calls
from pipeline.calls.columns import NewCall
from pipeline.calls.rules.cdr import read_cdr
from tests.factories import make_record
from tests.integration.flow import NOW, load, receive, rows, sheet, walk, works


def test_an_answered_call_is_classified_charged_and_its_recording_scheduled(engine):
    """The whole way of one call: 61 seconds at 60/1 with a fee of 0.20 and 0.60 a minute are 0.81."""
    load(engine)
    batch = receive(engine, make_record(call_ref=845))
    assert walk(engine, batch) == ["done"] * len(Step)
    assert rows(engine, "SELECT call_ref, client_number, client_number_original, client_number_is_e164 FROM calls") == [
        ("845", "+27820001234", "0820001234", True)
    ]
    assert rows(engine, "SELECT disposition, end_code_meaning FROM dispositions")[0].disposition == "answered"
    assert rows(engine, "SELECT prefix, billable_seconds, amount, currency FROM ledger") == [
        ("27", 61, Decimal("0.81"), "ZAR")
    ]
    assert rows(engine, "SELECT call_ref, state FROM recordings") == [("845", "scheduled")]
    assert rows(engine, "SELECT count(*) FROM batches WHERE finished_at IS NULL") == [(0,)]
    closed = sheet(engine)
    assert closed.closes
    assert (closed.processed.records, closed.processed.talk_seconds) == (1, 61)
    assert closed.charged == {"ZAR": Decimal("0.81")}


def test_bad_records_are_set_aside_and_the_rest_goes_on(engine):
    """Each bad record is quarantined with its field and its bytes; its batch's other records become calls."""
    load(engine)
    bad = {
        "record": b'{"type":"cdr","payload":{"number":"' + b"9" * 10_000_000 + b'"}}',
        "payload.hold_time": make_record(hold_time=float("nan")),
        "type": b'{"type":"status"}',
        "payload": b'{"type":"cdr","payload":[]}',
        "payload.call_time": make_record(call_time=-3),
        "payload.dialed_at": make_record(dialed_at="9999-01-01T00:00:00Z"),
        "payload.ref": make_record(ref="x" * 231),
        "payload.extension": make_record(extension="20\x0001"),
    }
    batch = receive(engine, make_record(), *bad.values(), make_record())
    assert walk(engine, batch) == ["done"] * len(Step)
    found = rows(
        engine,
        "SELECT field, raw, reason, class FROM failures JOIN inbox USING (record_id) ORDER BY record_id",
    )
    assert {row.field: bytes(row.raw) for row in found} == bad
    assert all(row.reason.startswith(f"{row.field}: ") and getattr(row, "class") == "data" for row in found)
    closed = sheet(engine)
    assert closed.closes
    assert (closed.processed.records, closed.quarantined.records) == (2, len(bad))


def test_a_repeated_record_is_counted_and_has_no_effect(engine):
    """The dialler replays its backup files: a record seen again, in the same batch or later, changes nothing."""
    load(engine)
    record = make_record(call_ref=7)
    walk(engine, receive(engine, record, record))
    walk(engine, receive(engine, record))
    closed = sheet(engine)
    assert closed.closes
    assert (closed.received.records, closed.processed.records, closed.duplicate.records) == (3, 1, 2)
    assert rows(engine, "SELECT count(*) FROM ledger") == [(1,)]


def test_another_content_under_a_known_key_is_a_conflict(engine):
    """A record that contradicts a stored call is quarantined beside it and overwrites nothing."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7, call_time=61)))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=600)))
    assert rows(engine, "SELECT talk_seconds FROM calls") == [(61,)]
    assert rows(engine, "SELECT class, step FROM failures") == [("conflict", "normalize")]
    assert sheet(engine).quarantined.records == 1


def test_two_diallers_may_use_the_same_reference(engine):
    """Call references are unique within one dialler only."""
    load(engine)
    walk(engine, receive(engine, make_record(call_ref=7), source="north"))
    walk(engine, receive(engine, make_record(call_ref=7, call_time=5), source="south"))
    assert rows(engine, "SELECT source, talk_seconds FROM calls ORDER BY source") == [
        ("north", 61),
        ("south", 5),
    ]
    assert sheet(engine).processed.records == 2


def test_steps_done_again_find_nothing_to_do(engine):
    """A message delivered twice, or late, repeats nothing."""
    load(engine)
    batch = receive(engine, make_record())
    walk(engine, batch)
    assert walk(engine, batch) == ["done before"] * len(Step)
    assert rows(engine, "SELECT count(*) FROM ledger") == [(1,)]


def test_a_step_before_its_turn_does_nothing(engine):
    """Messages may overtake each other; a step waits until those before it are done."""
    batch = receive(engine, make_record())
    assert walk(engine, batch, (Step.BILL, Step.CLASSIFY)) == ["too early", "too early"]
    assert walk(engine, batch) == ["done"] * len(Step)


def test_a_message_for_a_batch_that_does_not_exist_is_harmless(engine):
    """A forged or stale message ends by itself."""
    assert (
        run_step(engine, 123_456, Step.BILL, works(engine)[Step.BILL], resend_after_seconds=1).outcome
        == "no such batch"
    )


def test_a_step_run_at_once_by_many_workers_works_once(engine):
    """The lock lines the workers up, and all but the first find the work done."""
    load(engine)
    batch = receive(engine, *(make_record() for _ in range(50)))
    outcomes = []

    def deliver():
        outcomes.extend(walk(engine, batch))

    threads = [threading.Thread(target=deliver) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("done") == len(Step)
    assert rows(engine, "SELECT count(*) FROM ledger") == [(50,)]
    assert sheet(engine).closes


def test_batches_with_the_same_calls_do_not_deadlock(engine):
    """Two batches that hold the same calls in opposite order both end, and each call is stored once."""
    records = [make_record(call_ref=number) for number in range(300)]
    first, second = receive(engine, *records), receive(engine, *reversed(records))
    threads = [threading.Thread(target=walk, args=(engine, batch)) for batch in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(engine, "SELECT count(*) FROM calls") == [(300,)]
    assert rows(engine, "SELECT count(*) FROM duplicates") == [(300,)]
    assert sheet(engine).closes


@pytest.mark.parametrize("store", [copy_calls, insert_calls])
def test_calls_go_in_by_the_order_of_their_key(engine, store):
    """Whoever waits for a key holds lower ones only, so two batches with the same calls cannot wait crosswise."""

    def call(record_id, call_ref):
        raw = make_record(call_ref=call_ref, recording_url="x" * 2_000)  # so large that COPY sends each by itself
        return NewCall(record_id, read_cdr(raw, region="ZA", now=NOW))

    def other(connection):
        store(connection, "enigma", [call(13, "9"), call(12, "5"), call(11, "1")])

    with engine.connect() as first, engine.connect() as second, engine.connect() as third:
        holding = first.begin()
        insert_calls(first, "enigma", [call(1, "5")])
        waiting = second.begin()
        thread = threading.Thread(target=other, args=(second,))
        thread.start()
        while not rows(engine, "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"):
            assert thread.is_alive()
        with third.begin():
            third.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert insert_calls(third, "enigma", [call(21, "9")]) == {21}, "what comes after is not held yet"
        holding.rollback()
        thread.join(20)
        assert not thread.is_alive()
        waiting.rollback()


def test_without_a_rate_a_call_waits_and_a_tariff_heals_it(engine):
    """No rate is a failure that waits, never a charge of zero; loading a tariff is all it takes."""
    batch = receive(engine, make_record(), make_record(end_reason="busy", end_code="17", extension=None, call_time=0))
    walk(engine, batch)
    assert rows(engine, "SELECT class, step, state FROM failures") == [("reference", "bill", "open")]
    before = sheet(engine)
    assert before.closes
    assert (before.failed.records, before.failed.talk_seconds, before.processed.records) == (1, 61, 1)
    load(engine)
    with engine.begin() as connection:
        overdue = take_overdue(connection, limit=10, resend_after_seconds=10)
    assert [(progress.batch, progress.next_steps()) for progress in overdue] == [(batch, (Step.BILL,))]
    assert walk(engine, batch, (Step.BILL,)) == ["done"]
    after = sheet(engine)
    assert (after.failed.records, after.processed.records) == (0, 2)
    assert after.charged == {"ZAR": Decimal("0.81")}


def test_a_record_the_database_refuses_is_found_among_its_batch(engine, monkeypatch):
    """A bug that lets one impossible row through costs that record a failure with traceback, and no other."""

    def with_bug(*args, **options):
        cdr = read_cdr(*args, **options)
        return msgspec.structs.replace(cdr, talk_seconds=2**40) if cdr.call_ref == "13" else cdr

    monkeypatch.setattr("pipeline.calls.normalize.read_cdr", with_bug)
    batch = receive(engine, *(make_record(call_ref=number) for number in range(1, 20)))
    walk(engine, batch)
    assert rows(engine, "SELECT count(*) FROM calls") == [(18,)]
    found = rows(
        engine,
        "SELECT class, attempts, traceback, retry_at IS NOT NULL AS again FROM failures WHERE step = 'normalize'",
    )
    assert [(row.attempts, row.again, getattr(row, "class")) for row in found] == [(1, True, "bug")]
    assert "out of range" in found[0].traceback


def test_a_bug_is_tried_again_a_bounded_number_of_times(engine, monkeypatch):
    """A mended bug heals by itself; one that stays is left to a person after four attempts."""
    batch = receive(engine, make_record())
    monkeypatch.setattr("pipeline.calls.normalize.read_cdr", lambda *_, **__: 1 / 0)
    for attempt in range(1, 5):
        walk(engine, batch, (Step.NORMALIZE,))
        assert rows(engine, "SELECT attempts, state, retry_at IS NOT NULL FROM failures") == [
            (attempt, "open", attempt < 4)
        ]
        with engine.begin() as connection:
            connection.execute(text("UPDATE failures SET retry_at = now() WHERE retry_at IS NOT NULL"))
        with engine.begin() as connection:
            assert retry_due_bugs(connection, limit=10) == (1 if attempt < 4 else 0)
    monkeypatch.undo()
    with engine.begin() as connection:
        connection.execute(text("UPDATE failures SET retry_at = now()"))
    with engine.begin() as connection:
        retry_due_bugs(connection, limit=10)
    load(engine)
    walk(engine, batch)
    assert rows(engine, "SELECT state FROM failures") == [("resolved",)]
    assert sheet(engine).processed.records == 1


@pytest.mark.parametrize("statement", ["UPDATE ledger SET amount = 0", "DELETE FROM ledger", "TRUNCATE ledger"])
def test_the_ledger_refuses_to_be_changed(engine, statement):
    """Corrections are reversals and new lines; the database itself sees to it."""
    load(engine)
    walk(engine, receive(engine, make_record()))
    with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


def test_a_call_without_reference_is_known_by_its_content(engine):
    """Inbound calls may come without call_ref: the content stands in, and there is no audio to ask for."""
    load(engine)
    record = make_record(call_ref=None, call_dir="inbound", contact_ref=None)
    walk(engine, receive(engine, record, record))
    assert rows(engine, "SELECT left(call_ref, 7) FROM calls") == [("sha256:",)]
    assert rows(engine, "SELECT state FROM recordings") == [("absent",)]
    closed = sheet(engine)
    assert closed.closes
    assert closed.duplicate.records == 1


def test_the_balance_names_what_is_missing(engine):
    """The sheet does not close when a call that should be finished lacks its charge, and says which."""
    load(engine)
    batch = receive(engine, make_record(), make_record())
    walk(engine, batch)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE ledger DISABLE TRIGGER USER"))
        connection.execute(text("DELETE FROM ledger WHERE call_id % 2 = 1"))
    broken = sheet(engine)
    assert not broken.closes
    assert broken.violations[0].ids == (batch.batch_id * 65_536 + 1,)
