"""What ``pipeline doctor`` looks at on the broker: itself, and the workers that answer through it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import redis
from sqlalchemy.exc import SQLAlchemyError

from pipeline.database.engine import make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.doctor import redis_facts
from pipeline.doctor.rules import other_broker, processes, redis_server
from pipeline.doctor.rules.verdict import Verdict, ok, unknown
from pipeline.feed.cursors import anybody
from pipeline.recordings.keepers import sources_with_recordings_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery
    from kombu import Connection

    from pipeline.settings import Settings

WORKERS_ANSWER_WITHIN: Final = 2.0
BROKER_PREFIX: Final = "cdr:"


def check_broker(settings: Settings) -> Iterator[Verdict]:
    """The broker; its setup where it is a Redis."""
    url = settings.celery_broker_url
    if not url.startswith(("redis://", "rediss://")):
        yield from _check_other_broker(url)
        return
    try:
        with redis_facts.connected(url) as client:
            facts = redis_facts.look_at_redis(client, trial_key=f"{BROKER_PREFIX}trial", own_prefix=BROKER_PREFIX)
    except (redis.RedisError, OSError) as error:
        yield redis_server.judge_redis_error("broker", "CELERY_BROKER_URL", error)
        return
    yield from redis_server.judge_broker_redis(facts, _dialler_redis(settings))


def _dialler_redis(settings: Settings) -> redis_server.RedisFacts | None:
    with contextlib.suppress(redis.RedisError, OSError), redis_facts.connected(settings.enigma_redis_url) as client:
        return redis_facts.look_at_redis(client, trial_key=f"{CdrList.prefix_of(settings.enigma_list)}trial")
    return None


def _check_other_broker(url: str) -> Iterator[Verdict]:
    from pipeline.celery import app  # noqa: PLC0415 - Celery loads slowly

    kind = url.partition(":")[0]
    try:
        with _connection_to_broker(app) as connection:
            connection.ensure_connection(max_retries=1, timeout=redis_facts.TIMEOUT_SECONDS)
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        yield other_broker.judge_other_broker_error(kind, error)
        return
    yield ok("broker", f"it answers ({kind})")


def _connection_to_broker(app: Celery) -> Connection:
    """As the processes connect, but without their patience."""
    limits = {"socket_timeout", "socket_connect_timeout"} & set(app.conf.broker_transport_options)
    return app.connection_for_write(
        connect_timeout=redis_facts.TIMEOUT_SECONDS,
        transport_options=dict.fromkeys(limits, redis_facts.TIMEOUT_SECONDS),
    )


def check_workers(settings: Settings) -> Iterator[Verdict]:
    """Whether a worker reads each queue."""
    from pipeline.celery import app  # noqa: PLC0415 - Celery loads slowly

    try:
        with _connection_to_broker(app) as connection:
            connection.ensure_connection(max_retries=1, timeout=redis_facts.TIMEOUT_SECONDS)
            inspect = app.control.inspect(timeout=WORKERS_ANSWER_WITHIN, connection=connection)
            answers = inspect.active_queues() or {}
            _leave_no_trace(connection, app.control.mailbox.reply_exchange.name)
    except Exception:  # noqa: BLE001 - each transport has errors of its own, and check_broker says what they are
        yield unknown("workers", "the broker does not answer")
        return
    workers = {name: [queue["name"] for queue in queues] for name, queues in answers.items()}
    needed = [queue.name for queue in app.conf.task_queues if queue.name != "feed" or _anybody_subscribed(settings)]
    needed += [name for name in _other_recordings_queues(settings) if name not in needed]
    yield from processes.judge_queues(needed, workers)


def _leave_no_trace(connection: Connection, exchange: str) -> None:
    """Where nobody else waits for an answer, kombu's note of when ours is overdue stays on a Redis until it is read."""
    with connection.channel() as channel:
        if hasattr(channel, "keyprefix_binding_deadlines") and not channel.client.exists(
            channel.keyprefix_queue % (exchange,)
        ):
            channel.client.zrem(channel.keyprefix_binding_deadlines, exchange)


def _anybody_subscribed(settings: Settings) -> bool:
    engine = make_engine(settings.database_url, application="cdr-doctor", pool_size=1)
    try:
        with engine.connect() as connection:
            return anybody(connection)
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _other_recordings_queues(settings: Settings) -> list[str]:
    engine = make_engine(settings.database_url, application="cdr-doctor", pool_size=1)
    try:
        with engine.connect() as connection:
            return [f"recordings.{source}" for source in sources_with_recordings_waiting(connection)]
    except SQLAlchemyError:
        return []
    finally:
        engine.dispose()
