"""What each process counts for Prometheus. Nothing is counted, nor any library loaded, until a process serves it.

Every count is made once a batch or once a task, never once a record. Labels are names that are few by nature: a
dialler, a step, a class, a state. States of the database are read by one process only, see ``exporter``.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pipeline.logs.setup import get_logger

if TYPE_CHECKING:
    from pathlib import Path

log = get_logger(__name__)

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric: its name as Prometheus shows it, what it means, and the labels it has."""

    kind: Kind
    name: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


RECEIVED: Final = Metric("counter", "cdr_received_records_total", ("source",), "Records settled in the inbox.")
BATCH_RECORDS: Final = Metric(
    "histogram",
    "cdr_batch_records",
    ("source",),
    "Records of each batch settled.",
    (1, 2, 5, 10, 50, 100, 500, 1_000, 2_000, 5_000, 20_000),
)
LIST_RECORDS: Final = Metric("gauge", "cdr_list_records", ("source",), "Elements on the dialler's list.")
LIST_OLDEST: Final = Metric(
    "gauge",
    "cdr_list_oldest_age_seconds",
    ("source",),
    "Seconds since the older of the calls at the two ends of the list was dialled; 0 when it is empty.",
)
OPEN_CLAIMS: Final = Metric("gauge", "cdr_open_claims", ("source",), "Claims not settled and dropped yet.")
OLDEST_CLAIM: Final = Metric("gauge", "cdr_oldest_claim_age_seconds", ("source",), "Age of the oldest open claim.")
LEADS: Final = Metric("gauge", "cdr_ingestor_leads", ("source",), "1 while this ingestor has the lease, else 0.")
PROCESSED: Final = Metric(
    "counter",
    "cdr_processed_records_total",
    ("source", "step"),
    "Records of batches a step was done for; bill counts as processed. A batch done again counts again.",
)
DUPLICATES: Final = Metric("counter", "cdr_duplicate_records_total", ("source",), "Records that repeat a stored call.")
QUARANTINED: Final = Metric(
    "counter", "cdr_quarantined_records_total", ("source",), "Records set aside by normalize: no call came of them."
)
FAILURES: Final = Metric(
    "counter", "cdr_failures_total", ("source", "step", "class"), "Records set aside, each time they are."
)
STEP_SECONDS: Final = Metric(
    "histogram",
    "cdr_step_duration_seconds",
    ("step",),
    "Seconds a step took for a batch, waiting for its lock and its commit included.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
)
CHARGE_SECONDS: Final = Metric(
    "histogram",
    "cdr_receipt_to_charge_seconds",
    ("source",),
    "Seconds from the settling of a batch to the commit of its charges, once a batch; not for batches tried again or "
    "imported.",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600),
)
WITHOUT_CONTACT: Final = Metric(
    "counter",
    "cdr_calls_without_contact_total",
    ("source", "kind"),
    "Calls of no contact: none or too long a reference, or inbound. A batch done again counts again.",
)
DELIVERED: Final = Metric(
    "counter", "cdr_delivered_events_total", ("subscriber",), "Events of the feed that a subscriber took."
)
REFUSED_EVENTS: Final = Metric(
    "counter", "cdr_refused_events_total", ("subscriber",), "Events that a subscriber's other side would not have."
)
REPLAYED: Final = Metric(
    "counter", "cdr_replayed_events_total", ("subscriber",), "Events of the feed that a subscriber took once more."
)
RESENT: Final = Metric(
    "counter", "cdr_resent_batches_total", ("source",), "Batches the reconciler sent again: their message seemed lost."
)
RELEASED: Final = Metric("counter", "cdr_released_failures_total", (), "Bugs the reconciler had tried again.")
TASKS: Final = Metric(
    "counter", "cdr_tasks_total", ("task", "outcome"), "Tasks that ended: done, waits (the database is away), failed."
)
RECORDING_TRIES: Final = Metric(
    "counter",
    "cdr_recording_tries_total",
    ("source", "state"),
    "Tries at recordings, by the state it is in afterwards; none: there was nothing to do.",
)
STORE_FREE: Final = Metric(
    "gauge",
    "cdr_store_free_share",
    ("source",),
    "Free share of the disk of a `file://` store, 0 to 1, as of the last recording that was tried.",
)
REFUSED: Final = Metric(
    "counter",
    "cdr_refused_messages_total",
    ("kind",),
    "What came from the broker and was thrown away: no message, or none that this project sends.",
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class _Serving:
    """This process's metrics, once it serves them."""

    metrics: dict[str, Any] | None = None
    slot: str = "main"


def serving() -> bool:
    """Whether anything is counted: whoever must ask the database for a count asks this first."""
    return _Serving.metrics is not None


def count(metric: Metric, amount: float = 1, **labels: str) -> None:
    """Add to a counter."""
    if _Serving.metrics is not None and amount:
        _labelled(metric, labels).inc(amount)


def observe(metric: Metric, value: float, **labels: str) -> None:
    """Add a value to a histogram."""
    if _Serving.metrics is not None:
        _labelled(metric, labels).observe(value)


def gauge(metric: Metric, value: float, **labels: str) -> None:
    """Set a gauge."""
    if _Serving.metrics is not None:
        _labelled(metric, labels).set(value)


def _labelled(metric: Metric, labels: dict[str, str]) -> Any:
    assert _Serving.metrics is not None
    found = _Serving.metrics[metric.name]
    return found.labels(**labels) if metric.labels else found


def count_here(*, shared: Path | None = None) -> Any:
    """Begin to count; returns the registry to serve.

    Args:
        shared: a folder through which the forked processes of this one add to the same counts; emptied first. They
            name themselves with ``take_slot``. None for a process without forks.
    """
    import prometheus_client  # noqa: PLC0415 - only where something is served
    from prometheus_client import multiprocess, values  # noqa: PLC0415

    registry = prometheus_client.CollectorRegistry()
    if shared is not None:
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir(parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
        # A file a slot, not a file a process: children come and go, and each takes on where the last one was.
        values.ValueClass = values.MultiProcessValue(lambda: _Serving.slot)  # type: ignore[no-untyped-call]
        multiprocess.MultiProcessCollector(registry, path=str(shared))  # type: ignore[no-untyped-call]
    own = None if shared is not None else registry
    _Serving.metrics = {metric.name: _make(prometheus_client, metric, own) for metric in METRICS}
    return registry


def _make(library: Any, metric: Metric, registry: Any) -> Any:
    if metric.kind == "histogram":
        return library.Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    if metric.kind == "gauge":  # of several processes that serve it, the last word
        return library.Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode="mostrecent")
    return library.Counter(metric.name, metric.help, metric.labels, registry=registry)


def take_slot(number: int) -> None:
    """Name this forked process among its siblings; no two that live at the same time may have the same number."""
    _Serving.slot = str(number)


def serve(registry: Any, address: str, port: int) -> Any:
    """Answer Prometheus on a port, from a thread; a port that is taken is said, and costs only the metrics.

    Returns:
        What stops it, as ``server.shutdown()``; None when it did not start.
    """
    from prometheus_client import start_http_server  # noqa: PLC0415

    try:
        server, _ = start_http_server(port, address, registry)
    except OSError as error:
        log.warning("metrics_not_served", address=address, port=port, error=str(error))
        return None
    log.info("metrics_served", address=address, port=port)
    return server


PORT_OF: Final = {"ingestor": 0, "worker": 1, "recordings": 2, "beat": 3, "feed": 4}
"""Added to PIPELINE_METRICS_PORT, so that the processes of one machine can share their environment."""


def port_of(process: str, base: int) -> int:
    """The port a process serves on; that of a worker by another name is the worker's."""
    return base + PORT_OF.get(process, PORT_OF["worker"])
