"""Runs each contestant once over a backlog and says what it took."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import redis

from pipeline.billing.load import load_tariff
from pipeline.database.engine import make_engine
from pipeline.database.migrations import upgrade
from pipeline.sandbox.dialler import NOTIFICATIONS
from pipeline.sandbox.stack import ROOT, Stack
from tests.bench.processes import Cost, children, costs, resident_mb, spent
from tests.bench.workload import stage, tariff, uncover

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.sandbox.servers import Servers

SERVER_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
"""What anybody sets on a machine of this size. fsync, full_page_writes and synchronous_commit are on, as they are."""

WORKER = (
    "env REMAP_SIGTERM=SIGQUIT celery -A pipeline worker --hostname {name}@%h --concurrency {processes} --queues "
    "steps,pipeline --without-mingle --without-gossip"
)
WARM_UP = 2_400
WARM_UPS = 30
TARIFF_MB = 30
"""A worker process that has read the tariff is larger than its parent by more than this."""
TROUBLE_SECONDS = 900.0


@dataclass
class Run:
    """What one run over a backlog came to."""

    records: int
    seconds: float
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """CDRs a second."""
        return self.records / self.seconds

    @property
    def micros(self) -> dict[str, float]:
        """Microseconds of processor a CDR, by process."""
        return {name: round(cost.cpu_seconds * 1e6 / self.records, 1) for name, cost in self.costs.items()}

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "records": self.records,
            "seconds": round(self.seconds, 2),
            "rate": round(self.rate),
            "cpu_us": self.micros,
            "peak_mb": {name: cost.peak_mb for name, cost in self.costs.items()},
            "processes": {name: cost.processes for name, cost in self.costs.items()},
        }


class Bench:
    """Started servers, a migrated database with the tariff, and the processes a contestant needs."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.database_url = servers.postgres.url
        self._runs = 0
        self._next_ref = 1
        engine = make_engine(servers.postgres.url, application="bench")
        upgrade(engine)
        load_tariff(engine, tariff(), file_name="bench.csv", loaded_by="bench", default_currency="ZAR", timezone="UTC")
        engine.dispose()
        self.execute("CREATE SEQUENCE plain_calls", "VACUUM ANALYZE")

    @property
    def database(self) -> str:
        """The database of this run, as libpq names it."""
        return self.database_url.replace("+psycopg", "")

    def execute(self, *statements: str) -> None:
        """Each a transaction of its own."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        """The one value of a query."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def empty(self) -> None:
        """A new database with the tariff and no call in it; nothing is queued, and the disk is quiet."""
        self.database_url = self.servers.postgres.url.replace("/cdr", "/postgres")
        self._runs += 1
        if self._runs > 1:
            self.execute(f"DROP DATABASE run_{self._runs - 1} WITH (FORCE)")
        self.execute(f"CREATE DATABASE run_{self._runs} TEMPLATE cdr")
        self.database_url = self.servers.postgres.url.replace("/cdr", f"/run_{self._runs}")
        self.execute("CHECKPOINT")
        for server in (self.servers.broker, self.servers.dialler_redis):
            with redis.Redis.from_url(server.url) as client:
                client.flushall()

    def stage(self, records: int) -> None:
        """Make new records, to be uncovered."""
        stage(self.servers.dialler_redis.url, records, first_call_ref=self._next_ref)
        self._next_ref += records

    def uncover(self, *, after: bool = False) -> float:
        """The staged records are on the list; returns when, in Unix seconds.

        Args:
            after: behind what is there still.
        """
        began = time.time()
        uncover(self.servers.dialler_redis.url, after=after)
        return began

    @property
    def server_roots(self) -> dict[str, int]:
        """The servers' processes."""
        return {
            "postgres": self.servers.postgres.pid,
            "broker redis": self.servers.broker.pid,
            "dialler redis": self.servers.dialler_redis.pid,
        }

    @contextlib.contextmanager
    def stack(self, name: str, env: Mapping[str, str] | None = None) -> Iterator[Stack]:
        """The pipeline's settings on these servers; nothing is started."""
        # Recordings are scheduled, and not yet due: who downloads them has a benchmark of its own.
        settings = {"RECORDINGS_DELAY_SECONDS": "86400", "PIPELINE_TIMEZONE": "UTC"}
        settings |= {"DATABASE_URL": self.database_url, **(env or {})}
        folder = self.folder / name
        with Stack(self.servers, folder, api_url="http://127.0.0.1:1", env=settings) as stack:
            yield stack

    @contextlib.contextmanager
    def pipeline(
        self, name: str, *, env: Mapping[str, str] | None = None, workers: Mapping[str, int] | None = None
    ) -> Iterator[Stack]:
        """The pipeline, warm: every worker process has read the tariff.

        Args:
            name: of the folder for its logs.
            env: settings that differ.
            workers: the worker groups with their processes; default one of two.
        """
        with self.stack(name, env) as stack:
            stack.start(["beat"])
            for worker, processes in (workers or {"worker": 2}).items():
                stack.start_as(worker, WORKER.format(name=worker, processes=processes))
            stack.start(["ingestor"])
            self._warm_up(stack)
            yield stack

    def _warm_up(self, stack: Stack) -> None:
        """Batches that go step by step, in quick succession, until every worker process holds a tariff."""
        for _ in range(WARM_UPS):
            for _ in range(8):
                self.stage(WARM_UP // 8)
                self.uncover(after=True)
                time.sleep(0.01)
            self.finished(stack)
            if all(self._has_tariff(stack, name) for name in stack.processes if name.startswith("worker")):
                return
        raise AssertionError("a worker process does not get to bill anything")

    @staticmethod
    def _has_tariff(stack: Stack, name: str) -> bool:
        main = stack.processes[name].pid
        return all(resident_mb(pid) > resident_mb(main) + TARIFF_MB for pid in children(main))

    def finished(self, stack: Stack) -> float:
        """Wait until the list is empty and every batch finished; returns when the last one was, in Unix seconds."""
        deadline = time.monotonic() + TROUBLE_SECONDS
        with (
            redis.Redis.from_url(self.servers.dialler_redis.url) as dialler,
            psycopg.connect(self.database, autocommit=True) as connection,
        ):
            while True:
                stack.check()
                assert time.monotonic() < deadline, "the pipeline does not finish"
                if not dialler.llen(NOTIFICATIONS) and not dialler.hlen(f"{{{NOTIFICATIONS}}}:cdr:claims"):
                    left = connection.execute("SELECT count(*) FROM batches WHERE finished_at IS NULL").fetchone()
                    if left == (0,):
                        break
                time.sleep(0.1)
            last = connection.execute("SELECT extract(epoch FROM max(finished_at))::float FROM batches").fetchone()
        assert last is not None
        return float(last[0])


def run_limit(bench: Bench, records: int, *, bare: bool = False) -> Run:
    """See `tests.bench.limit`."""
    bench.empty()
    bench.stage(records)
    bench.uncover()
    command = [sys.executable, "-m", "tests.bench.limit", "--redis", bench.servers.dialler_redis.url]
    process = subprocess.Popen(
        [*command, "--database", bench.database, "--count", str(records), *(["--bare"] if bare else [])],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline().strip() == "ready"
        roots = {"limit": process.pid, **bench.server_roots}
        before = costs(roots)
        print(file=process.stdin, flush=True)
        seconds = json.loads(process.stdout.readline())["seconds"]
        run = Run(records, seconds, spent(before, costs(roots)))
        print(file=process.stdin, flush=True)
    return run


def run_plain(bench: Bench, records: int) -> Run:
    """See `tests.bench.plain`."""
    bench.empty()
    with bench.stack("plain") as stack:
        options = "--without-mingle --without-gossip --without-heartbeat"
        stack.start_as("worker", f"celery -A tests.bench.plain worker --concurrency 2 {options}")
        _through_plain(bench, stack, "warm-up", 200)
        return _through_plain(bench, stack, "feeder", records)


def _through_plain(bench: Bench, stack: Stack, feeder: str, records: int) -> Run:
    charged = "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM uncharged)"
    wanted = bench.value(charged) + records
    bench.stage(records)
    bench.uncover()
    stack.start_as(feeder, f"{sys.executable} -m tests.bench.plain {records}")
    roots = {"worker": stack.processes["worker"].pid, feeder: stack.processes[feeder].pid, **bench.server_roots}
    before = costs(roots)
    with psycopg.connect(bench.database, autocommit=True) as connection:
        while True:
            if connection.execute(charged.encode()).fetchone() == (wanted,):
                break
            time.sleep(0.1)
        last = connection.execute(
            "SELECT extract(epoch FROM greatest((SELECT max(entered_at) FROM ledger), "
            "(SELECT max(decided_at) FROM uncharged)))::float"
        ).fetchone()
    assert last is not None
    after = spent(before, costs(roots))
    first = json.loads(stack.log_of(feeder).read_text().splitlines()[-1])["first_pop"]
    stack.processes.pop(feeder).wait()
    return Run(records, last[0] - first, after)


def run_pipeline(
    bench: Bench,
    records: int,
    *,
    env: Mapping[str, str] | None = None,
    workers: Mapping[str, int] | None = None,
    empty: bool = True,
) -> Run:
    """This project, everything on."""
    if empty:
        bench.empty()
    with bench.pipeline("pipeline", env=env, workers=workers) as stack:
        bench.stage(records)
        bench.execute("CHECKPOINT")
        roots = {**{name: process.pid for name, process in stack.processes.items()}, **bench.server_roots}
        before = costs(roots)
        began = bench.uncover()
        ended = bench.finished(stack)
        return Run(records, ended - began, spent(before, costs(roots)))
