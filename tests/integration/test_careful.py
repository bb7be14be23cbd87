"""A record that kills its worker is found, and the rest of its batch goes on."""

from __future__ import annotations

import pytest

from pipeline.storage.progress import Step
from tests.factories import make_record
from tests.integration.flow import load, receive, rows, sheet, walk


class WorkerKilled(BaseException):
    """Stands for the end of the process: nothing that catches errors catches it."""


@pytest.fixture
def poison(monkeypatch):
    """Normalizing a record of this reference ends the process."""
    from pipeline.steps import normalize  # noqa: PLC0415

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
    assert walk(engine, batch, worker_was_lost=True) == ["done carefully"] * 4
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
