"""What Prometheus reads from the running processes."""

from __future__ import annotations

import os
import re
import socket

import httpx
import pytest

from tests.factories import make_record
from tests.functional.conftest import balance, eventually


def four_free_ports():
    """The first of four ports in a row that nobody listens on."""
    # Other test processes look for theirs at the same time.
    for base in range(21_000 + os.getpid() % 1_000 * 4, 30_000, 4):
        try:
            for port in range(base, base + 4):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no four ports are free")


@pytest.fixture
def scrape(stack):
    base = four_free_ports()
    stack.env |= {"PIPELINE_METRICS_PORT": str(base)}

    def read(process):
        place = ["ingestor", "worker", "recordings", "beat"].index(process)
        try:
            answer = httpx.get(f"http://127.0.0.1:{base + place}/metrics").text
        except httpx.TransportError:
            return {}
        return {name: float(value) for name, value in re.findall(r"^(cdr_\S+(?:\{.*\})?) (\S+)$", answer, re.MULTILINE)}

    return read


def test_the_counts_are_those_of_the_balance(stack, push, scrape, servers):
    """Received, processed, duplicate, quarantined, failed; batches, steps, latency; the states of the database."""
    good = [make_record() for _ in range(50)]
    push(*good, *good[:5], b"rubbish", make_record(call_time=-1))
    stack.start(["ingestor", "worker", "recordings", "beat"])
    sheet = eventually(lambda: (s := balance(stack))["processed"]["records"] == 50 and s, check=stack.check)
    assert sheet["received"]["records"] == 57
    ingestor = scrape("ingestor")
    assert ingestor['cdr_received_records_total{source="enigma"}'] == 57
    assert ingestor['cdr_batch_records_sum{source="enigma"}'] == 57
    assert ingestor['cdr_ingestor_leads{source="enigma"}'] == 1
    assert ingestor['cdr_open_claims{source="enigma"}'] == 0
    assert 'cdr_list_records{source="enigma"}' in ingestor
    assert 'cdr_list_oldest_age_seconds{source="enigma"}' in ingestor

    worker = eventually(
        lambda: (w := scrape("worker")).get('cdr_processed_records_total{source="enigma",step="bill"}') == 57 and w
    )
    assert worker['cdr_duplicate_records_total{source="enigma"}'] == 5
    assert worker['cdr_quarantined_records_total{source="enigma"}'] == 2
    assert worker['cdr_failures_total{class="data",source="enigma",step="normalize"}'] == 2
    batches = worker['cdr_step_duration_seconds_count{step="bill"}']
    assert batches >= 1
    assert worker['cdr_receipt_to_charge_seconds_count{source="enigma"}'] == batches
    # A message that came twice is a task more, and one that is counted is not yet at its end.
    eventually(lambda: scrape("worker").get('cdr_tasks_total{outcome="done",task="cdr.bill"}', 0) >= batches)
    eventually(lambda: scrape("worker").get('cdr_tasks_total{outcome="done",task="pipeline.reconcile"}'))

    beat = eventually(lambda: (b := scrape("beat")).get('cdr_ledger_entries{currency="ZAR"}') == 50 and b)
    assert beat['cdr_charged_amount{currency="ZAR"}'] == 40.5
    assert beat['cdr_open_failures{class="data",source="enigma",step="normalize"}'] == 2
    assert beat['cdr_heartbeat_age_seconds{name="reconciler",source=""}'] < 30
    eventually(
        lambda: any(name.startswith("cdr_recording_tries_total") for name in scrape("recordings")), check=stack.check
    )
    refs = re.compile(r"call_ref|\+27|0820001234")
    assert not any(refs.search(name) for process in ("ingestor", "worker", "beat") for name in scrape(process))


def test_a_port_that_is_taken_costs_the_metrics_only(stack, push, scrape):
    """The process works on, and says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(stack.env["PIPELINE_METRICS_PORT"])))
        taken.listen()
        push(make_record())
        stack.start(["ingestor", "worker", "beat"])
        eventually(lambda: balance(stack)["processed"]["records"] == 1, check=stack.check)
        assert "metrics_not_served" in stack.log_of("ingestor").read_text()
