"""Chaos: the dialler pushes, and meanwhile everything is killed, stopped, wiped and repeated at random.

    python -m tests.chaos.harness --seed 1 --calls 100000 --kills 100

At the end everything is left in peace until nothing is pending. Then the balance has to close with exactly what was
pushed, and the ledger has to hold exactly what the pushed calls cost. The same seed makes the same calls and the same
choices; when each one hits is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import amqp
import kombu
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, text

from pipeline.batches.rules.steps import QUEUE
from pipeline.billing.rules.rate_deck import RateDeck
from pipeline.billing.rules.rating import Rate, Rounding, rate_call
from pipeline.calls.rules.phone_numbers import normalize_number
from pipeline.sandbox.broken import broken
from pipeline.sandbox.calls import CallGenerator, SimulatedCall
from pipeline.sandbox.process import children
from pipeline.sandbox.servers import RedisServer, Servers
from pipeline.sandbox.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LIST = "enigma:notifications:campaigns"
PROCESSES = ("ingestor", "worker", "beat")
TARIFF = "prefix,rate_per_minute,connect_fee,first_increment,next_increment\n27,0.60,0.20,60,1\n,1.25,0,30,6\n"
PUSHED_AT_ONCE = 200
QUEUES = (*QUEUE.values(), "pipeline", "feed", "recordings.enigma", "completeness.enigma")


@dataclass
class Report:
    """What was done, and what came of it."""

    seed: int
    calls: int = 0
    bad: int = 0
    replayed: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    balance: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def pushed(self) -> int:
        """Records put on the list."""
        return self.calls + self.bad + self.replayed

    def show(self) -> None:
        """Print it."""
        print(f"seed {self.seed}: pushed {self.pushed:,} records in {self.seconds:.0f} s")  # noqa: T201
        print(f"  {self.calls:,} calls, {self.bad:,} bad records, {self.replayed:,} replayed")  # noqa: T201
        print(f"  {self.kills.total()} blows: " + ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items())))  # noqa: T201
        print("  balance: " + json.dumps(self.balance))  # noqa: T201
        for line in self.wrong:
            print(f"  WRONG: {line}")  # noqa: T201
        print("  closes" if not self.wrong else "  DOES NOT CLOSE")  # noqa: T201


class Pusher(threading.Thread):
    """The dialler: pushes calls, bad records and replays, and knows what it pushed, whatever Redis lives through."""

    def __init__(self, url: str, report: Report, *, seed: int, calls: int, rate: float, campaigns: int = 3) -> None:
        super().__init__(name="pusher", daemon=True)
        self._redis = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=3)
        self._report = report
        self._calls = calls
        self._rate = rate
        self._random = random.Random(seed)
        self._source = CallGenerator(seed, start=_an_hour_ago(), campaigns=campaigns, null_call_ref_share=0.3)
        self._chunks = 0
        self.pushed: list[SimulatedCall] = []
        self._nameless: set[bytes] = set()

    def run(self) -> None:
        began = time.monotonic()
        while self._report.calls < self._calls:
            chunk = self._source.take(min(PUSHED_AT_ONCE, self._calls - self._report.calls))
            bad = [broken(self._random) for _ in chunk if self._random.random() < 0.01]
            again = self._random.sample(self.pushed, min(len(self.pushed), len(chunk) // 20))
            elements = [call.element() for call in (*chunk, *again)] + bad
            self._random.shuffle(elements)
            self._push(elements)
            distinct = [call for call in chunk if self._is_new(call)]
            self.pushed += distinct
            self._report.calls += len(distinct)
            self._report.bad += len(bad)
            self._report.replayed += len(again) + len(chunk) - len(distinct)
            ahead = self._report.calls / self._rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)

    def _is_new(self, call: SimulatedCall) -> bool:
        """Two inbound calls without call_ref and number, in the same second, are the same bytes: nobody can tell."""
        if call.sends_call_ref:
            return True
        element = call.element()
        known = element in self._nameless
        self._nameless.add(element)
        return not known

    def _push(self, elements: list[bytes]) -> None:
        """Push once, exactly: a mark goes in with the elements, so an answer lost on the way can be made up for."""
        mark = f"chaos:pushed:{self._chunks}"
        self._chunks += 1
        while True:
            with contextlib.suppress(redis.RedisError):
                if self._redis.exists(mark):
                    return
                with self._redis.pipeline(transaction=True) as transaction:
                    transaction.rpush(LIST, *elements)
                    transaction.set(mark, 1)
                    transaction.execute()
                return
            time.sleep(0.2)


class Chaos:
    """Strikes at random until told to stop; whatever it struck is running again when it returns."""

    def __init__(self, servers: Servers, stack: Stack, report: Report, *, seed: int, amqp_url: str | None) -> None:
        self._servers = servers
        self._stack = stack
        self._report = report
        self._random = random.Random(f"chaos {seed}")
        self._blows: list[tuple[int, str, Callable[[], None]]] = [
            (6, "kill ingestor", lambda: self._restart("ingestor")),
            (6, "kill worker", lambda: self._restart("worker")),
            (5, "kill worker parent only", self._kill_worker_parent),
            (8, "kill worker child", self._kill_worker_child),
            (3, "kill beat", lambda: self._restart("beat")),
            *(self._broker_blows() if amqp_url is None else [(9, "purge broker", lambda: purge(amqp_url))]),
            (3, "kill PostgreSQL", lambda: self._bounce(servers.postgres)),
            (3, "kill dialler's Redis", lambda: self._bounce(servers.dialler_redis)),
            (3, "stop and continue PostgreSQL", lambda: self._pause(servers.postgres)),
            (3, "stop and continue dialler's Redis", lambda: self._pause(servers.dialler_redis)),
            (4, "stop and continue ingestor", lambda: self._freeze("ingestor", 1.0, 7.0)),
            (3, "stop and continue worker", lambda: self._freeze("worker", 0.5, 4.0)),
            (2, "terminate ingestor", lambda: self._terminate("ingestor")),
            (2, "terminate worker", lambda: self._terminate("worker")),
        ]

    def _broker_blows(self) -> list[tuple[int, str, Callable[[], None]]]:
        return [
            (3, "kill broker", lambda: self._bounce(self._servers.broker)),
            (3, "kill broker, data lost", self._lose_broker),
            (3, "wipe broker", self._wipe_broker),
            (3, "stop and continue broker", lambda: self._pause(self._servers.broker)),
        ]

    def strike(self) -> None:
        """One blow."""
        weights = [weight for weight, _, _ in self._blows]
        _, name, blow = self._random.choices(self._blows, weights)[0]
        blow()
        self._report.kills[name] += 1

    def _restart(self, name: str) -> None:
        self._stack.kill(name)
        time.sleep(self._random.random())
        self._stack.start([name])

    def _terminate(self, name: str) -> None:
        seconds = self._stack.stop([name])[name]
        if seconds > 5:
            self._report.wrong.append(f"{name} took {seconds:.1f} s to end after SIGTERM")
        self._stack.start([name])

    def _kill_worker_parent(self) -> None:
        process = self._stack.processes.pop("worker")
        process.kill()
        process.wait()
        self._stack.start(["worker"])

    def _kill_worker_child(self) -> None:
        family = children(self._stack.processes["worker"].pid)
        if family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(family), signal.SIGKILL)

    def _bounce(self, server: Any) -> None:
        server.kill()
        time.sleep(self._random.uniform(0, 2))
        server.start()

    def _lose_broker(self) -> None:
        self._servers.broker.kill()
        for path in self._servers.broker.folder.glob("appendonlydir/*"):
            path.unlink()
        self._servers.broker.start()

    def _wipe_broker(self) -> None:
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._servers.broker.url) as client:
            client.flushall()

    def _pause(self, server: Any) -> None:
        server.pause()
        time.sleep(self._random.uniform(0.5, 3))
        server.resume()

    def _freeze(self, name: str, shortest: float, longest: float) -> None:
        group = self._stack.processes[name].pid
        os.killpg(group, signal.SIGSTOP)
        time.sleep(self._random.uniform(shortest, longest))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)


def purge(amqp_url: str) -> None:
    """Throw away every message that waits on a RabbitMQ."""
    with kombu.Connection(amqp_url, connect_timeout=5) as connection:
        for queue in QUEUES:
            with contextlib.suppress(amqp.NotFound), connection.channel() as channel:
                channel.queue_purge(queue)


def expected_charges(calls: list[SimulatedCall]) -> dict[str, Any]:
    """What the pushed calls come to, computed from the calls alone, beside the pipeline."""
    deck = RateDeck(
        [
            Rate(prefix="27", rate_per_minute=Decimal("0.60"), connect_fee=Decimal("0.20"), first_increment=60),
            Rate(prefix="", rate_per_minute=Decimal("1.25"), first_increment=30, next_increment=6),
        ],
        "Africa/Johannesburg",
    )
    charges, amount = 0, Decimal(0)
    for call in calls:
        if call.extension is None or call.talk_seconds == 0 or call.direction == "inbound":
            continue
        rate = deck.find(normalize_number(call.number, "ZA").digits, _at(call.dialed_at))
        assert rate is not None
        charges += 1
        amount += rate_call(rate, call.talk_seconds, rounding=Rounding.HALF_UP, decimals=2).amount
    return {
        "charges": charges,
        "amount": f"{amount:f}",
        "talk_seconds": sum(call.talk_seconds for call in calls),
        "recordings": sum(call.extension is not None for call in calls),
    }


def settle_down(stack: Stack, report: Report, *, seconds: float) -> None:
    """Wait until nothing is pending, then compare what is there with what was pushed."""
    deadline = time.monotonic() + seconds
    engine = create_engine(stack.settings["DATABASE_URL"])
    while time.monotonic() < deadline:
        with contextlib.suppress(Exception), engine.connect() as connection:
            waiting = connection.scalar(
                text(
                    "SELECT (SELECT count(*) FROM batches WHERE finished_at IS NULL) "
                    "+ (SELECT count(*) FROM failures WHERE state IN ('open', 'retrying') AND class = 'bug')"
                )
            )
            received = connection.scalar(text("SELECT coalesce(sum(records), 0) FROM batches"))
            if not waiting and received >= report.pushed:
                break
        time.sleep(0.3)
    done = stack.run("pipeline", "balance", "--json")
    report.balance = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    _compare(engine, report, done.returncode)
    engine.dispose()


def _compare(engine: Any, report: Report, exit_code: int) -> None:
    sheet = report.balance
    if exit_code != 0:
        report.wrong.append(f"pipeline balance ended with {exit_code}: {sheet.get('violations', sheet)}")
        if "received" not in sheet:
            return
    places = {
        "received": report.pushed,
        "processed": report.calls,
        "duplicate": report.replayed,
        "quarantined": report.bad,
        "failed": 0,
        "discarded": 0,
        "pending": 0,
    }
    for place, records in places.items():
        if sheet[place]["records"] != records:
            report.wrong.append(f"{place}: {sheet[place]['records']:,} records instead of {records:,}")
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT (SELECT count(*) FROM ledger) AS charges, (SELECT sum(amount) FROM ledger) AS amount, "
                "(SELECT sum(talk_seconds) FROM calls) AS talk_seconds, (SELECT count(*) FROM recordings) AS recordings"
            )
        ).one()
    for name, value in report.expected.items():
        if str(getattr(found, name)) != str(value):
            report.wrong.append(f"{name}: {getattr(found, name)} instead of {value}")


@contextlib.contextmanager
def arena(
    folder: Path,
    processes: tuple[str, ...] = PROCESSES,
    *,
    amqp_url: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[tuple[Servers, Stack]]:
    """Servers that survive a kill with their data, a tariff, and the processes running; RabbitMQ is somebody else's."""
    servers = Servers(folder / "servers", fsync=False)
    # Synced each second, it can lose what it has acknowledged when it is killed while the disk is slow. That loss would
    # be the dialler's own, before anybody could claim anything, and is not what is looked for here.
    servers.dialler_redis = RedisServer(folder / "servers" / "dialler-redis", config=("--appendfsync", "always"))
    with (
        servers,
        Stack(
            servers,
            folder / "pipeline",
            api_url="http://127.0.0.1:1",
            env={**(env or {}), **({} if amqp_url is None else {"CELERY_BROKER_URL": amqp_url})},
        ) as stack,
    ):
        stack.release()
        tariff = folder / "tariff.csv"
        tariff.write_text(TARIFF)
        loaded = stack.run("pipeline", "tariff", "load", str(tariff))
        assert loaded.returncode == 0, loaded.stderr
        if processes:
            stack.start(processes)
        yield servers, stack


def run(
    *,
    seed: int,
    calls: int,
    kills: int,
    rate: float,
    quiet_seconds: float = 240.0,
    gap: float = 1.0,
    amqp_url: str | None = None,
) -> Report:
    """Push, strike, settle down, compare.

    Args:
        seed: of calls, bad records, replays and blows.
        calls: to push.
        kills: blows to strike at least; striking goes on while calls are pushed.
        rate: calls a second.
        quiet_seconds: the longest wait at the end.
        gap: seconds between blows, on average.
        amqp_url: a RabbitMQ to use as broker; it is purged, never stopped.
    """
    report = Report(seed)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="cdr-chaos-", ignore_cleanup_errors=True) as folder,
        arena(Path(folder), amqp_url=amqp_url) as (servers, stack),
    ):
        pusher = Pusher(servers.dialler_redis.url, report, seed=seed, calls=calls, rate=rate)
        chaos = Chaos(servers, stack, report, seed=seed, amqp_url=amqp_url)
        chances = random.Random(f"gaps {seed}")
        pusher.start()
        while pusher.is_alive() or report.kills.total() < kills:
            time.sleep(chances.uniform(0, 2 * gap))
            chaos.strike()
        pusher.join()
        report.expected = expected_charges(pusher.pushed)
        settle_down(stack, report, seconds=quiet_seconds)
        if report.wrong:
            keep_logs(Path(folder), stack)
    report.seconds = time.monotonic() - began
    return report


def keep_logs(folder: Path, stack: Stack) -> None:
    """Leave the logs where whoever looks into it finds them."""
    kept = Path(tempfile.mkdtemp(prefix="cdr-chaos-logs-"))
    for log in (folder / "pipeline").glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes())
    stats = stack.run("pipeline", "failures", "stats")
    (kept / "failures.txt").write_text(stats.stdout + stats.stderr)
    print(f"logs kept in {kept}", file=sys.stderr)  # noqa: T201


def _an_hour_ago() -> Any:
    return _at(int(time.time()) - 3600)


def _at(seconds: int) -> Any:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(seconds, UTC)


def main() -> None:
    """Run once or over several seeds; exit code 1 when one does not close."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.harness", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--amqp", metavar="URL", help="a RabbitMQ to use as broker, in place of the sandbox's Redis")
    parser.add_argument("--rate", type=float, default=500.0, help="calls a second")
    options = parser.parse_args()
    failed = False
    for seed in options.seed:
        report = run(seed=seed, calls=options.calls, kills=options.kills, rate=options.rate, amqp_url=options.amqp)
        report.show()
        failed |= bool(report.wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
