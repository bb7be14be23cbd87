"""What integrators cost the pipeline, and what they get."""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import time
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from sqlalchemy import text

from pipeline.database.engine import make_engine, reading
from pipeline.feed.rules.event import FINISHED, RECEIVED, Event, event_id
from pipeline.feed.rules.filter import Filter
from pipeline.feed.rules.shape import RAW_TYPE
from pipeline.feed.sinks import open_sink
from pipeline.feed.subscribers import NewSubscriber, add, all_subscribers, remove
from pipeline.record_ids import PLACES
from pipeline.sandbox.redis_server import RedisServer
from pipeline.worker.giving_way import NICENESS
from tests.bench.latency import WARM_UP_SECONDS, push, summary
from tests.bench.processes import costs, resident_mb, spent
from tests.bench.receiver import receiver
from tests.bench.workload import records
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Engine

    from pipeline.sandbox.stack import Stack
    from tests.bench.contestants import Bench
    from tests.bench.processes import Cost

BACKLOG = 50_000
LIST_EVENTS = 100_000
LATENCY_RATE = 100
LAGS = (20_000, 1_000_000)
"""Events that wait for the feed process whose memory is looked at."""

FIRST_REF = 500_000_000
FORGOTTEN_SECONDS = 2.5
"""A process of the pipeline knows by then whether there is any subscriber (``pipeline.tasks.feed``)."""

OF_INTEGRATORS = ("feed", "integrators' redis", "receivers")
TROUBLE_SECONDS = 600.0
NO_LIMIT = 100_000_000
"""A high water that is not reached: nobody reads."""


@dataclass
class Outside:
    """What integrators have: a Redis of their own, and a receiver of webhooks."""

    redis: RedisServer
    taker: Any

    @property
    def roots(self) -> dict[str, int]:
        """Their processes."""
        return {"integrators' redis": self.redis.pid, "receivers": self.taker.pid}

    def empty(self) -> None:
        """Nothing is left of what was delivered."""
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushall()


def measure(bench: Bench, rounds: int, seconds: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """All but one that is dead and one that lags."""
    with _course(bench, tell) as course:
        result: dict[str, Any] = {"list": list_alone(course.outside)}
        tell(f"a list alone: {result['list']['rate']:,} events/s")
        with by_itself(course.stack):
            result["latency"] = course.latency(seconds)
        result["ten"] = course.ten(rounds)
    return result


@contextlib.contextmanager
def _course(bench: Bench, tell: Callable[[str], None]) -> Iterator[Course]:
    bench.empty()
    env = {"FEED_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
    with integrators(bench) as outside, bench.pipeline("feed", env=env) as stack:
        stack.start(["feed"])
        engine = make_engine(bench.database_url, application="bench")
        yield Course(bench, stack, outside, engine, tell)
        engine.dispose()


@contextlib.contextmanager
def by_itself(stack: Stack) -> Iterator[None]:
    """The feed's process does not give way: to the pipeline it would not need to, and to strangers it would.

    What it does beside a backlog is measured as it is. What it can do is measured like this, where whoever measures may
    say so (root): a machine that has other work would be what is measured else.
    """
    eventually(lambda: os.getpriority(os.PRIO_PROCESS, stack.processes["feed"].pid) >= NICENESS)
    _let_be_nice(stack, 0)
    yield
    _let_be_nice(stack, NICENESS)


def _let_be_nice(stack: Stack, niceness: int) -> None:
    of = Path(f"/proc/{stack.processes['feed'].pid}")
    with contextlib.suppress(OSError):
        for thread in (of / "task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
        (of / "autogroup").write_text(str(niceness))


@contextlib.contextmanager
def integrators(bench: Bench, *, kept: bool = True) -> Iterator[Outside]:
    """What integrators have; ``kept``: with an append-only file, which is written anew now and then."""
    server = RedisServer(bench.folder / "integrators-redis", appendonly=kept)
    server.start()
    try:
        with receiver("take") as taker:
            yield Outside(server, taker)
    finally:
        server.stop()


def list_alone(outside: Outside) -> dict[str, Any]:
    """The sink by itself, from memory to a Redis: no database, no filter."""
    at = datetime.now(UTC)
    events = [
        Event(1 + n // 2_000, n % 2_000, event_id("enigma", str(n), RECEIVED, n), *_told(n), at, RAW_TYPE, raw)
        for n, raw in enumerate(records(LIST_EVENTS))
    ]
    outside.empty()
    settings = {"url": outside.redis.url, "list": "alone", "high_water": NO_LIMIT}
    with contextlib.closing(open_sink("redis-list", settings, subscriber="bench")) as sink:
        sink.deliver(events[:1])
        began, worked = time.perf_counter(), time.process_time()
        for place in range(1, LIST_EVENTS, sink.most_events):
            sink.deliver(events[place : place + sink.most_events])
        took, worked = time.perf_counter() - began, time.process_time() - worked
    with redis.Redis.from_url(outside.redis.url) as client:
        assert client.llen("alone") == LIST_EVENTS
    return {"events": LIST_EVENTS, "rate": round(LIST_EVENTS / took), "cpu_us": round(worked * 1e6 / LIST_EVENTS, 1)}


def _told(number: int) -> tuple[str, str, str, str]:
    return RECEIVED, "enigma", str(number), "campaign001"


class Course:
    """Measurements through one pipeline that stays up; subscribers come and go."""

    def __init__(
        self, bench: Bench, stack: Stack, outside: Outside, engine: Engine, tell: Callable[[str], None]
    ) -> None:
        self._bench, self._engine, self._tell = bench, engine, tell
        self.stack, self.outside = stack, outside

    def latency(self, seconds: float) -> dict[str, Any]:
        """From the push of a CDR to the arrival of its ``call.finished``, at two webhooks at once."""
        with receiver("note") as single, receiver("note") as many:
            hooks = {"one a request": (single, 1), "up to 500 a request": (many, 500)}
            subscribers = [
                a_webhook(f"hook{nth}", each.url, batch=batch) for nth, (each, batch) in enumerate(hooks.values())
            ]
            with self._subscribed(subscribers):
                url = self._bench.servers.dialler_redis.url
                warm = push(url, LATENCY_RATE, WARM_UP_SECONDS, FIRST_REF)
                roots = {name: process.pid for name, process in self.stack.processes.items()}
                before = costs(roots | self._bench.server_roots)
                pushed = push(url, LATENCY_RATE, seconds, warm[-1].call_ref + 1)
                delivered(self._engine, self.stack)
                cost = spent(before, costs(roots | self._bench.server_roots))
            finished = self._finished(pushed[0].call_ref)
            result = {"(its batch is finished)": summary([finished[str(one.call_ref)] - one.at for one in pushed])}
            for name, (each, _) in hooks.items():
                came = each.came()
                result[name] = summary([came[str(one.call_ref)] - one.at for one in pushed])
                self._tell(
                    f"{LATENCY_RATE} CDR/s to a webhook, {name}: p50 {result[name]['p50_ms']} ms, "
                    f"p99 {result[name]['p99_ms']} ms"
                )
        cores = {name: round(each.cpu_seconds / seconds, 2) for name, each in cost.items()}
        return {"rate": LATENCY_RATE, "hooks": result, "cores": cores}

    def _finished(self, first_call_ref: int) -> dict[str, float]:
        """When the batch of each call since was finished, in Unix seconds."""
        query = """SELECT call_ref, extract(epoch FROM finished_at)::float FROM calls
                   JOIN batches ON batches.id = calls.id / :places WHERE call_ref::bigint >= :first"""
        with reading(self._engine) as connection:
            values = {"places": PLACES, "first": first_call_ref}
            return dict(map(tuple, connection.execute(text(query), values)))

    def ten(self, rounds: int) -> dict[str, Any]:
        """A backlog without a subscriber and with ten, in turns, each first every other time."""
        runs: dict[str, list[dict[str, Any]]] = {"none": [], "ten": []}
        for turn in range(rounds):
            for name in list(runs)[:: -1 if turn % 2 else 1]:
                run = self._run(_ten(self.outside) if name == "ten" else [], BACKLOG)
                runs[name].append(run)
                self._tell(f"round {turn + 1}, {name}: {run['rate']:,} CDR/s, {_own(run):.0f} µs a CDR of its own")
        own = [{"own": _own(run)} for run in runs["ten"]], [{"own": _own(run)} for run in runs["none"]]
        return {"runs": runs, "kept": _ratios(runs["ten"], runs["none"], "rate"), "cpu": _ratios(*own, "own")}

    def _run(self, subscribers: Sequence[NewSubscriber], count: int) -> dict[str, Any]:
        self._bench.stage(count)
        with self._subscribed(subscribers):
            self._bench.execute("CHECKPOINT")
            roots = {name: process.pid for name, process in self.stack.processes.items()}
            roots |= {**self._bench.server_roots, **self.outside.roots}
            before = costs(roots)
            began = self._bench.uncover()
            ended = self._bench.finished(self.stack)
            return {
                "records": count,
                "seconds": round(ended - began, 2),
                "rate": round(count / (ended - began)),
                "cpu_us": _micros(spent(before, costs(roots)), count),
                "events": taken(self._engine),
            }

    @contextlib.contextmanager
    def _subscribed(self, subscribers: Sequence[NewSubscriber]) -> Iterator[None]:
        """Some subscribers, from now on."""
        with self._engine.begin() as connection:
            for each in subscribers:
                add(connection, each, who="bench")
        time.sleep(FORGOTTEN_SECONDS)
        yield
        with self._engine.begin() as connection:
            for each in subscribers:
                remove(connection, each.name, who="bench")
        time.sleep(FORGOTTEN_SECONDS)
        self.outside.empty()


def delivered(engine: Engine, stack: Stack) -> int:
    """Wait until nothing has no position, and every subscriber has gone through all that has."""
    deadline = time.monotonic() + TROUBLE_SECONDS
    while True:
        stack.check()
        assert time.monotonic() < deadline, "the feed does not come to its end"
        with reading(engine) as connection:
            unplaced = connection.scalar(text("SELECT EXISTS (SELECT FROM feed WHERE position IS NULL)"))
            found = all_subscribers(connection)
        if not found or (not unplaced and not any(each.rows_behind for each in found)):
            return sum(each.delivered for each in found)
        time.sleep(0.1)


def taken(engine: Engine) -> int:
    """The events that subscribers took so far."""
    with reading(engine) as connection:
        return int(connection.scalar(text("SELECT coalesce(sum(delivered), 0) FROM subscribers")) or 0)


def lagging(bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """The feed process alone over many events that wait: its memory, and how fast one list is filled."""
    with integrators(bench) as outside:
        return {str(lag): _lag(bench, outside, lag, tell) for lag in LAGS}


def _lag(bench: Bench, outside: Outside, lag: int, tell: Callable[[str], None]) -> dict[str, Any]:
    bench.empty()
    outside.empty()
    engine = make_engine(bench.database_url, application="bench")
    fill(engine, lag)
    with engine.begin() as connection:
        add(connection, a_list("behind", outside, 0), who="bench", from_start=True)
    with bench.stack(f"lag-{lag}") as stack:
        stack.start(["feed"])
        pid = stack.processes["feed"].pid
        stack.run("celery", "-A", "pipeline", "call", "feed.sequence")
        while not (already := taken(engine)):
            stack.check()
            time.sleep(0.1)
        roots = {"feed": pid, **bench.server_roots, **outside.roots}
        before, began = costs(roots), time.monotonic()
        _let_be_nice(stack, 0)
        run = _drained(engine, stack, pid, lag)
        took = time.monotonic() - began
        cost = spent(before, costs(roots))
    run |= {"rate": round((lag - already) / took), "event_us": _micros(cost, lag - already)}
    tell(f"{lag:,} events behind: feed process {run['first_mb']} MB, at most {run['peak_mb']} MB, {run['rate']:,}/s")
    engine.dispose()
    return run


def _drained(engine: Engine, stack: Stack, pid: int, lag: int) -> dict[str, Any]:
    """What a feed process holds after its first ten thousand events, and at most."""
    first, peak, took = 0.0, 0.0, 0
    while took < lag:
        stack.check()
        time.sleep(0.2)
        took = taken(engine)
        peak = max(peak, resident_mb(pid))
        first = first or (resident_mb(pid) if took >= 10_000 else 0.0)
    return {"events": lag, "first_mb": round(first, 1), "peak_mb": round(peak, 1)}


LAG_BATCH = 2_000
_FILL = (
    """INSERT INTO batches (claim, source, records, received_at, due_at, normalized_at, classified_at, billed_at,
                            recordings_scheduled_at, contacts_updated_at, finished_at)
       SELECT gen_random_uuid(), 'enigma', :records, now(), now(), now(), now(), now(), now(), now(), now()
       FROM generate_series(1, :batches)""",
    """INSERT INTO inbox (record_id, raw) SELECT id * :places + n, cast(:raw AS bytea)
       FROM batches, generate_series(0, :records - 1) AS n ORDER BY id, n""",
    """INSERT INTO feed (position, kind, source, batch_id)
       SELECT row_number() OVER (ORDER BY id), 'call.received', 'enigma', id FROM batches""",
)


def fill(engine: Engine, lag: int) -> None:
    """So many events of records that were received, all with their positions; nothing else is known of them."""
    values = {"batches": lag // LAG_BATCH, "records": LAG_BATCH, "places": PLACES, "raw": next(records(1))}
    for statement in _FILL:
        with engine.begin() as connection:
            connection.execute(text(statement), {name: v for name, v in values.items() if f":{name}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _ten(outside: Outside) -> list[NewSubscriber]:
    lists = [a_list(f"list{nth}", outside, nth) for nth in range(6)]
    streams = [_stream(f"stream{nth}", outside) for nth in range(2)]
    return [*lists, *streams, *(a_webhook(f"hook{nth}", outside.taker.url, batch=500) for nth in range(2))]


def a_list(name: str, outside: Outside, nth: int) -> NewSubscriber:
    settings = {"url": outside.redis.url, "list": f"list:{nth}", "high_water": NO_LIMIT}
    return _subscriber(name, "redis-list", settings, kind=RECEIVED, shape="raw")


def _stream(name: str, outside: Outside) -> NewSubscriber:
    settings = {"url": outside.redis.url, "stream": f"stream:{name}", "high_water": NO_LIMIT}
    return _subscriber(name, "redis-stream", settings, kind=FINISHED, shape="thin")


def a_webhook(name: str, url: str, *, batch: int) -> NewSubscriber:
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    return _subscriber(name, "webhook", {"url": url, "secret": secret, "batch": batch}, kind=FINISHED, shape="call")


def _subscriber(name: str, sink: str, settings: Mapping[str, Any], *, kind: str, shape: str) -> NewSubscriber:
    return NewSubscriber(name, sink, settings, {}, Filter(("*",), ("*",), (kind,)), shape, "per call")


def _micros(cost: Mapping[str, Cost], count: int) -> dict[str, float]:
    return {name: round(each.cpu_seconds * 1e6 / count, 1) for name, each in cost.items()}


def _own(run: Mapping[str, Any]) -> float:
    """What the pipeline itself needs for a CDR; PostgreSQL serves the feed as well, and counts here."""
    micros: dict[str, float] = run["cpu_us"]
    return round(sum(each for name, each in micros.items() if name not in OF_INTEGRATORS), 1)


def _ratios(runs: Sequence[Mapping[str, Any]], over: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    """Of runs of one round, and their median."""
    each = [round(run[what] / other[what], 3) for run, other in zip(runs, over, strict=True)]
    return {"each": each, "median": round(statistics.median(each), 3)}
