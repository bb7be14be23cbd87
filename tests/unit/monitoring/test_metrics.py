"""What is counted, and that nothing is until somebody serves it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from pipeline.monitoring import metrics
from pipeline.monitoring.gauges import QUERIES

STATES = [metric for query in QUERIES for metric in query.metrics]
BOUNDED = {"source", "step", "class", "state", "currency", "kind", "name", "task", "outcome", "subscriber", "level"}
"""Names that are few by nature."""


@pytest.mark.parametrize("metric", [*metrics.METRICS, *STATES], ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_wants_it(metric):
    """The prefix, base units, counters that say so, labels that are few."""
    assert re.fullmatch(r"cdr_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (getattr(metric, "kind", "gauge") == "counter")
    assert not re.search(r"_(ms|minutes|kb|percent)\b", metric.name)
    assert set(metric.labels) <= BOUNDED
    assert metric.help.endswith(".")


def test_nothing_is_counted_until_it_is_served():
    """The null object takes every call."""
    assert not metrics.serving()
    metrics.count(metrics.RECEIVED, 5, source="x")
    metrics.observe(metrics.STEP_SECONDS, 0.1, step="bill")
    metrics.gauge(metrics.LEADS, 1, source="x")


def test_each_process_of_a_machine_has_a_port():
    """Those of one environment do not meet; a worker of another name is a worker."""
    assert [metrics.port_of(name, 9500) for name in ("ingestor", "worker", "recordings", "beat", "worker2")] == [
        9500, 9501, 9502, 9503, 9501,
    ]  # fmt: skip


def test_forked_processes_add_to_the_same_counts(tmp_path):
    """Also one that takes the place of another that died; and a start begins anew."""
    code = """
import os, pathlib, sys
from pipeline.monitoring import metrics
from prometheus_client import generate_latest
registry = metrics.count_here(shared=pathlib.Path(sys.argv[1]))
for slot in (0, 1, 0):
    if not (child := os.fork()):
        metrics.take_slot(slot)
        metrics.count(metrics.RECEIVED, 10, source="north")
        metrics.observe(metrics.STEP_SECONDS, 0.2, step="bill")
        os._exit(0)
    os.waitpid(child, 0)
metrics.count(metrics.RECEIVED, 1, source="south")
print(generate_latest(registry).decode())
print(sorted(os.listdir(sys.argv[1])))
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, str(tmp_path / "shared")],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {},
        )
        assert 'cdr_received_records_total{source="north"} 30.0' in done.stdout
        assert 'cdr_received_records_total{source="south"} 1.0' in done.stdout
        assert 'cdr_step_duration_seconds_count{step="bill"} 3.0' in done.stdout
        assert "counter_0.db', 'counter_1.db', 'counter_main.db'" in done.stdout
