"""Celery's settings: names and values. docs/decisions.md gives the reason for each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from kombu import Exchange, Queue

from pipeline.batches.rules.steps import QUEUE, TABLE
from pipeline.settings import SettingsError, current_settings

try:
    _settings = current_settings()
except SettingsError as error:
    # A wrong setting stops the process with its name and reason, not with a traceback through Celery.
    raise SystemExit(str(error)) from None

_redis_broker = _settings.celery_broker_url.startswith(("redis", "sentinel"))

broker_url = _settings.celery_broker_url
if broker_url.startswith("rediss://") and "ssl_cert_reqs" not in broker_url:
    # kombu would take any certificate; the other connections of this project would not.
    broker_url += f"{'&' if '?' in broker_url else '?'}ssl_cert_reqs=required"
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True
broker_pool_acquire_timeout = 5.0
broker_transport_options: dict[str, Any] = (
    {
        "visibility_timeout": 900,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "global_keyprefix": "cdr:",
        "priority_steps": [0],
        "client_name": "cdr",
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 1,
    }
    if _redis_broker
    else {
        "confirm_publish": True,
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 1,
    }
)
if _settings.celery_broker_url.startswith("sentinel"):
    broker_transport_options["master_name"] = _settings.celery_broker_sentinel_master
if _redis_broker:
    visibility_timeout = 900
else:
    task_default_queue_type = "quorum"
    worker_detect_quorum_queues = True

# The outcome of every task is a row in the database.
result_backend = None
task_ignore_result = True

task_serializer = "json"
accept_content = ["json"]
task_acks_late = True
task_acks_on_failure = True
task_acks_on_timeout = True
task_retry_on_worker_lost = True
task_reject_on_worker_lost = True
task_time_limit = 300
task_soft_time_limit = 240
task_publish_retry = True
task_publish_retry_policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1}

# Every queue is named here, or in the table of steps, and nowhere else; a misspelt one is an error, not a new queue
# nobody reads.
task_create_missing_queues = False
task_default_queue = "pipeline"
task_default_exchange = "pipeline"
task_default_routing_key = "pipeline"
_exchange = Exchange("pipeline", type="direct")
_queue_arguments = None if _redis_broker else {"x-queue-type": "quorum"}
task_queues = [
    Queue(name, _exchange, routing_key=name, queue_arguments=_queue_arguments)
    for name in (*QUEUE.values(), "pipeline", "feed")  # `celery worker --queues steps` reads those of the steps
]
# Each dialler's recordings have a queue of their own: only workers of that ENIGMA_SOURCE can reach it and know its
# password. By the alias, `celery worker --queues recordings` reads that of the worker's own dialler.
_recordings = f"recordings.{_settings.enigma_source}"
task_queues.append(
    Queue(_recordings, _exchange, routing_key=_recordings, queue_arguments=_queue_arguments, alias="recordings")
)
# The dialler's other witnesses are asked from where its recordings are: the same workers read both, see GROUPS.
_completeness = f"completeness.{_settings.enigma_source}"
task_queues.append(
    Queue(_completeness, _exchange, routing_key=_completeness, queue_arguments=_queue_arguments, alias="completeness")
)
task_routes = {
    **{row.task: {"queue": row.queue} for row in TABLE},
    "recordings.download": {"queue": _recordings},
    "recordings.dispatch": {"queue": "pipeline"},
    "recordings.keep": {"queue": "pipeline"},
    "recordings.expire_stored": {"queue": _recordings},
    "recordings.clean_partials": {"queue": _recordings},
    "pipeline.reconcile": {"queue": "pipeline"},
    "pipeline.act_in_bulk": {"queue": "pipeline"},
    "feed.sequence": {"queue": "feed"},
    "feed.deliver": {"queue": "feed"},
    "feed.replay": {"queue": "feed"},
    "feed.keep": {"queue": "pipeline"},
    "archive.run": {"queue": "pipeline"},
    "archive.go_on": {"queue": "pipeline"},
    "ranges.make": {"queue": "pipeline"},
    "keeping.expire_access_log": {"queue": "pipeline"},
    "completeness.watch": {"queue": "pipeline"},
    "completeness.read_counters": {"queue": _completeness},
    "completeness.compare": {"queue": _completeness},
}

# No tick expires, for a worker whose clock is ahead would drop them all; the scheduler lets few of them wait.
beat_schedule = {
    "reconcile": {"task": "pipeline.reconcile", "schedule": timedelta(seconds=2)},
    # The reconciler sends it where a recording is due; this is for when that is held up, or of the version before.
    "dispatch recordings": {"task": "recordings.dispatch", "schedule": timedelta(seconds=20)},
    "clean up each dialler's recordings": {
        "task": "recordings.keep",
        "schedule": timedelta(hours=1),  # not once a day: an interval begins anew with every restart of beat
    },
    "look at each dialler's other witnesses": {"task": "completeness.watch", "schedule": timedelta(minutes=1)},
    # It does nothing within a day of having looked at every month.
    "archive closed months and what has changed": {"task": "archive.run", "schedule": timedelta(hours=1)},
    "make the next month's ranges": {"task": "ranges.make", "schedule": timedelta(hours=1)},
    "delete of the access log what is past its retention": {
        "task": "keeping.expire_access_log",
        "schedule": timedelta(hours=1),
    },
    "drop what is past the feed's retention": {"task": "feed.keep", "schedule": timedelta(hours=1)},
}
# A hundred thousand ticks a day would be all that Flower remembers.
task_annotations = {
    name: {"send_events": False}
    for name in ("pipeline.reconcile", "recordings.dispatch", "feed.sequence", "feed.deliver", "feed.replay")
}
beat_scheduler = "pipeline.worker.liveness:LivingScheduler"
beat_max_loop_interval = 2

worker_disable_prefetch = _redis_broker
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = True
worker_soft_shutdown_timeout = _settings.pipeline_stop_seconds  # honcho kills after 5 s; other supervisors wait longer
worker_enable_soft_shutdown_on_idle = False
worker_eta_task_limit = 100
worker_max_tasks_per_child = 50_000
worker_hijack_root_logger = False
worker_send_task_events = True
task_send_sent_event = True
# shows that it lives; sends the events of half a second together.
worker_consumer = "pipeline.worker.consumer:Consumer"
