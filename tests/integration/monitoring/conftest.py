"""A collector of states that Prometheus reads, on a clock of the test's own."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from pipeline.monitoring.exporter import StateCollector


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry(engine, clock):
    registry, collector = CollectorRegistry(), StateCollector(engine, clock=clock)
    registry.register(collector)
    yield registry
    collector.wait()
