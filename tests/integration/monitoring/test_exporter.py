"""The states of a real database as Prometheus reads them."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from pipeline.batches.counting import duplicates_noticed_now, receipt_to_charge_seconds
from pipeline.batches.reconcile import reconcile
from pipeline.batches.rules.steps import Step
from pipeline.batches.set_aside import release
from pipeline.ingest.stops import raise_stop
from pipeline.monitoring.gauges import KEEP_SECONDS, QUERIES
from pipeline.record_ids import first_record, last_record
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, walk

STORED = "UPDATE recordings SET verify_problem = 'gone'"


def test_states_are_those_of_the_rows(engine, registry):
    """Batches under way, failures, stops, signs of life, recordings, charges."""
    load(engine)
    walk(engine, receive(engine, make_record(), make_record(), b"rubbish"))
    receive(engine, make_record(), make_record(), source="north")
    walk(engine, receive(engine, b"rubbish", b"rubbish", b"rubbish", source="south"))
    with engine.begin() as connection:
        release(connection, [rows(engine, "SELECT min(id) FROM failures WHERE source = 'south'")[0][0]])
    reconcile(engine, limit=1, resend_after_seconds=1, who="tests")
    with engine.begin() as connection:
        raise_stop(connection, "north", "fuse", "bad")
        connection.execute(text("UPDATE recordings SET due_at = now() - interval '5 seconds'"))
        connection.execute(text("UPDATE batches SET received_at = now() - interval '1 hour' WHERE source = 'enigma'"))
        connection.execute(text(f"{STORED}, deleted_at = now() WHERE call_id = (SELECT min(call_id) FROM recordings)"))
        connection.execute(text(f"{STORED} WHERE call_id = (SELECT max(call_id) FROM recordings)"))

    def value(metric, **labels):
        return registry.get_sample_value(metric, labels)

    assert value("cdr_unfinished_batches", source="north") == 1
    assert value("cdr_unfinished_records", source="north") == 2
    assert value("cdr_unfinished_records", source="south") == 1
    assert 0 <= value("cdr_oldest_unfinished_seconds", source="north") < 60
    assert value("cdr_unfinished_batches", source="enigma") is None
    assert value("cdr_open_failures", **{"source": "enigma", "step": "normalize", "class": "data"}) == 1
    assert value("cdr_standing_stops", source="north", kind="fuse") == 1
    assert value("cdr_heartbeat_age_seconds", name="reconciler", source="") < 60
    assert 0 <= value("cdr_received_age_seconds", source="north") < 60
    assert 3600 <= value("cdr_received_age_seconds", source="enigma") < 3660
    assert value("cdr_recordings_differ", source="enigma", state="scheduled") == 1, (
        "of one that was deleted it says nothing"
    )
    assert value("cdr_recordings", source="enigma", state="scheduled") == 2
    assert value("cdr_due_recordings", source="enigma") == 2
    assert value("cdr_oldest_due_recording_seconds", source="enigma") >= 5
    assert value("cdr_charged_amount", currency="ZAR") == pytest.approx(1.62)
    assert value("cdr_ledger_entries", currency="ZAR") == 2
    assert value("cdr_database_bytes") > 1_000_000


def test_a_reading_is_kept_for_a_while(engine, registry, clock):
    """However often Prometheus asks, the database is asked seldom."""

    def waiting():
        return registry.get_sample_value("cdr_unfinished_batches", {"source": "enigma"})

    receive(engine, make_record())
    assert waiting() == 1
    receive(engine, make_record())
    assert waiting() == 1
    clock.now += KEEP_SECONDS
    assert waiting() == 2


def test_a_query_that_fails_costs_its_own_metrics_only(engine, registry):
    """And is counted, so that an alert can tell."""
    receive(engine, make_record())
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE stops RENAME TO elsewhere"))
    assert registry.get_sample_value("cdr_unfinished_batches", {"source": "enigma"}) == 1
    assert registry.get_sample_value("cdr_state_query_failures_total", {"query": "stops"}) == 1
    assert registry.get_sample_value("cdr_state_query_failures_total", {"query": "batches"}) == 0


def test_every_query_runs_on_an_empty_database(registry):
    """None of them fails."""
    failed = [registry.get_sample_value("cdr_state_query_failures_total", {"query": query.name}) for query in QUERIES]
    assert failed == [0] * len(QUERIES)


def test_the_latency_is_that_of_a_batch_never_tried_again(engine):
    """From its receipt; a batch one of whose records was retried says nothing about speed."""
    load(engine)
    batch = receive(engine, make_record(), b"rubbish")
    walk(engine, batch)
    first, last = first_record(batch.batch_id), last_record(batch.batch_id)
    with engine.begin() as connection:
        assert 0 < receipt_to_charge_seconds(connection, batch.batch_id, first, last) < 60
        connection.execute(text("UPDATE failures SET state = 'resolved'"))
        assert receipt_to_charge_seconds(connection, batch.batch_id, first, last) is None


def test_duplicates_are_counted_by_the_transaction_that_noticed_them(engine):
    """Not again by a later one."""
    record = make_record()
    walk(engine, receive(engine, record), (Step.NORMALIZE,))
    batch = receive(engine, record, record, make_record())
    walk(engine, batch, (Step.NORMALIZE,))
    first, last = first_record(batch.batch_id), last_record(batch.batch_id)
    assert rows(engine, "SELECT count(*) FROM duplicates") == [(2,)]
    with engine.begin() as connection:
        assert duplicates_noticed_now(connection, first, last) == 0
        connection.execute(text("INSERT INTO duplicates (record_id, call_id) VALUES (:id, 1)"), {"id": last})
        assert duplicates_noticed_now(connection, first, last) == 1
