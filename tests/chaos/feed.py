"""Chaos of the feed: everything on the way to the subscribers is killed, and each has every element once all the same.

    python -m tests.chaos.feed --seed 1 2 3 --calls 100000 --kills 200

Three consumers that pop (`deploy/examples/consumer.py`, unchanged) read lists on two Redis servers, and a receiver
(`deploy/examples/receiver.py`) takes webhooks one by one and many at once. At the end all is left in peace until
nothing waits. Then each list was pushed exactly what was received, byte for byte, once, in the order of the feed, by
the log of the Redis that has it; each consumer has what its list was pushed; each webhook came, again by the same id
alone; and each subscriber counts as much.

BRPOP itself gives an element out before anybody knows that it arrived: one whose server is killed between the two is
gone, whoever pushed it. Such are counted, and told from the log of that server; no more than its kills are accepted.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import create_engine, text

from pipeline.record_ids import first_record
from pipeline.sandbox.servers import RedisServer, free_port
from tests.chaos.append_only import pushed_to
from tests.chaos.harness import PROCESSES, Chaos, Pusher, Report, arena, keep_logs, settle_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from pipeline.sandbox.servers import Servers
    from pipeline.sandbox.stack import Stack

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NOT_ANSWERED_SECONDS = 16.0
"""Longer than the feed waits for a Redis, and than a lease lasts."""

CAMPAIGNS = 20
CAMPAIGN = "campaign002"
"""Whose calls go one by one, a request each; no bad record names it."""

BATCH = 100


class Reader(NamedTuple):
    """A consumer of a list: its subscriber, the server, the end that is pushed to."""

    name: str
    server: int
    end: str


READERS = (Reader("crm", 0, "left"), Reader("reports", 0, "right"), Reader("shop", 1, "left"))
"""Who pops on the right from a list pushed on the left gets the oldest first; pushed on the right, the newest."""


@dataclass
class FeedReport(Report):
    """What the subscribers got."""

    lost_by_redis: Counter[str] = field(default_factory=Counter)
    """Given out by a Redis that was killed before its answer arrived, a consumer."""
    repeated: Counter[str] = field(default_factory=Counter)
    """Webhooks that came again by the same id."""
    subscribers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """Blows that were a SIGKILL."""
        return sum(count for name, count in self.kills.items() if name.startswith("kill"))

    def show(self) -> None:
        super().show()
        print(f"  {self.killed} of the blows were kills")  # noqa: T201
        for each in self.subscribers:
            print(f"  {each['name']}: delivered {each['delivered']:,}, refused {each['refused']}")  # noqa: T201
        lost = ", ".join(f"{count} {name}" for name, count in self.lost_by_redis.items()) or "none"
        again = ", ".join(f"{count} {name}" for name, count in self.repeated.items()) or "none"
        print(f"  popped from a Redis that was killed before its answer arrived: {lost}")  # noqa: T201
        print(f"  events that webhooks brought again: {again}")  # noqa: T201


class FeedPusher(Pusher):
    """The dialler, that remembers each element it pushed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, campaigns=CAMPAIGNS)
        self.elements: Counter[bytes] = Counter()

    def _push(self, elements: list[bytes]) -> None:
        super()._push(elements)
        self.elements.update(elements)


class Sinks:
    """The servers that lists are on, those who read them, and who takes webhooks."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.stack = stack
        # Nothing is asked of the disk: a killed process leaves what it wrote to the system, and never more than it
        # wrote. The log is never written anew, so that it says all that was ever pushed.
        config = ("--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
        self.servers = [RedisServer(folder / f"lists-{each}", config=config) for each in (0, 1)]
        self.port = free_port()
        self._secret = folder / "secret.txt"
        self._secret.write_text(SECRET)

    def start(self) -> None:
        """Start them all."""
        for server in self.servers:
            server.start()
        for reader in READERS:
            self._python(reader.name, "consumer.py", self.servers[reader.server].url, LIST_OF[reader.name])
        self.start_receiver()

    def start_receiver(self) -> None:
        """Start the receiver; what it wrote when it was killed, and nobody was told, may be half a line."""
        log = self.stack.log_of("receiver")
        if log.exists() and log.stat().st_size:
            with log.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
        self._python("receiver", "receiver.py", str(self.port), str(self._secret))

    def _python(self, name: str, program: str, *arguments: str) -> None:
        self.stack.start_as(name, f"{sys.executable} {EXAMPLES / program} {' '.join(arguments)}")

    def subscribe(self) -> None:
        """Subscribe all of them to all that is received, as it was received."""
        for reader in READERS:
            url = self.servers[reader.server].url
            self._add(reader.name, "redis-list", "*", f"url={url}", f"list={LIST_OF[reader.name]}", f"end={reader.end}")
        url = f"url=http://127.0.0.1:{self.port}"
        self._add("one-by-one", "webhook", CAMPAIGN, f"{url}/one")
        self._add("many", "webhook", "*", f"{url}/many", f"batch={BATCH}")

    def _add(self, name: str, sink: str, campaign: str, *settings: str) -> None:
        secret = ("--secret-file", f"secret={self._secret}") if sink == "webhook" else ()
        added = self.stack.run(
            *("pipeline", "subscriber", "add", name, "--sink", sink, "--source", "*", "--campaign", campaign),
            *("--kind", "call.received", "--shape", "raw", "--order", "none", *secret),
            *(part for each in settings for part in ("--set", each)),
        )
        assert added.returncode == 0, added.stderr

    def stop(self) -> None:
        """Stop the servers; the stack stops the rest."""
        for server in self.servers:
            server.stop()


LIST_OF = {reader.name: f"{reader.name}:calls" for reader in READERS}


class FeedChaos(Chaos):
    """Strikes at what stands between the inbox and the subscribers."""

    def __init__(
        self, servers: Servers, stack: Stack, report: FeedReport, sinks: Sinks, *, seed: int, is_short: bool
    ) -> None:
        super().__init__(servers, stack, report, seed=seed, amqp_url=None)
        self._sinks = sinks
        rare = 0 if is_short else 1
        self._blows: list[tuple[int, str, Callable[[], None]]] = [
            (12, "kill feed", lambda: self._restart("feed")),
            (4, "kill worker", lambda: self._restart("worker")),
            (2, "kill beat", lambda: self._restart("beat")),
            (2, "kill ingestor", lambda: self._restart("ingestor")),
            (2, "kill PostgreSQL", lambda: self._bounce(servers.postgres)),
            (4, "kill broker", lambda: self._bounce(servers.broker)),
            (2, "kill broker, data lost", self._lose_broker),
            (2, "wipe broker", self._wipe_broker),
            (5, "kill Redis 0", lambda: self._bounce(sinks.servers[0])),
            (5, "kill Redis 1", lambda: self._bounce(sinks.servers[1])),
            (6, "kill receiver", self._kill_receiver),
            (3, "stop and continue feed", lambda: self._freeze("feed", 0.5, 5.0)),
            (2, "stop and continue receiver", lambda: self._freeze("receiver", 0.5, 5.0)),
            (2, "stop and continue a Redis", lambda: self._pause(self._random.choice(sinks.servers))),
            (rare, "feed stands still beyond its lease", lambda: self._freeze("feed", *_TOO_LONG)),
            (rare, "a Redis stands still beyond its time", self._pause_long),
            (3, "terminate feed", self._terminate_feed),
        ]

    def _kill_receiver(self) -> None:
        self._stack.kill("receiver")
        time.sleep(self._random.random())
        self._sinks.start_receiver()

    def _terminate_feed(self) -> None:
        self._stack.stop(["feed"])
        self._stack.start(["feed"])

    def _pause_long(self) -> None:
        server = self._random.choice(self._sinks.servers)
        server.pause()
        time.sleep(NOT_ANSWERED_SECONDS)
        server.resume()


_TOO_LONG = (NOT_ANSWERED_SECONDS, NOT_ANSWERED_SECONDS + 2)


def settle(stack: Stack, report: FeedReport, *, seconds: float) -> None:
    """Wait until nothing waits for anybody."""
    engine = create_engine(stack.settings["DATABASE_URL"])
    deadline = time.monotonic() + seconds
    settled: tuple[Any, ...] = ()
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            waits = connection.scalar(_WAITS)
        sizes = tuple(stack.log_of(name).stat().st_size for name in (*LIST_OF, "receiver"))
        if not waits and sizes == settled:
            break
        settled = sizes
        time.sleep(1)
    else:
        report.wrong.append(f"after {seconds:g} s of peace something waits still")
    engine.dispose()
    shown = stack.run("pipeline", "subscriber", "list", "--json")
    report.subscribers = json.loads(shown.stdout)
    for each in report.subscribers:
        if each["state"] != "active":
            report.wrong.append(f"{each['name']} is {each['state']}: {each['state_reason']}")


_WAITS = text(
    "SELECT EXISTS (SELECT FROM feed WHERE position IS NULL) OR EXISTS ("
    "SELECT FROM subscribers, (SELECT max(position) AS position FROM feed) AS head "
    "WHERE (subscribers.position, place) < (head.position, 65535))"
)


def compare(engine: Engine, report: FeedReport, sinks: Sinks, pushed: Counter[bytes]) -> None:
    """What was pushed, received, pushed on and taken."""
    received = in_order(engine)
    elements = [element for _, _, element in received]
    if Counter(elements) != pushed:
        report.wrong.append("what was received is not what was pushed")
    for reader in READERS:
        _compare_list(report, sinks, reader, elements)
    requests = list(requests_in(sinks.stack.log_of("receiver")))
    of_campaign = [each for each in elements if campaign_of(each) == CAMPAIGN]
    _compare_single(report, [(id_, body) for path, id_, body in requests if path == "/one"], of_campaign)
    many = [body for path, _, body in requests if path == "/many"]
    _compare_many(report, [envelope for body in many for envelope in json.loads(body)], received)
    for each in report.subscribers:
        there = len(of_campaign) if each["name"] == "one-by-one" else len(elements)
        counted = (each["delivered"], each["filtered"], each["refused"])
        if counted != (there, len(elements) - there, 0):
            report.wrong.append(f"{each['name']} counts {counted} delivered, filtered and refused, and {there:,} came")


def in_order(engine: Engine) -> list[tuple[int, int, bytes]]:
    """What was received, in the order of the feed: position, place, element."""
    query = text(
        "SELECT feed.position, record_id, batch_id, raw FROM feed JOIN batches ON batches.id = batch_id "
        "JOIN inbox ON record_id >= batch_id << 16 AND record_id < (batch_id << 16) + batches.records "
        "WHERE kind = 'call.received' ORDER BY feed.position, record_id"
    )
    with engine.connect() as connection:
        return [(row[0], row[1] - first_record(row[2]), bytes(row[3])) for row in connection.execute(query)]


def _compare_list(report: FeedReport, sinks: Sinks, reader: Reader, elements: list[bytes]) -> None:
    server = sinks.servers[reader.server]
    pushes = pushed_to(server.folder, LIST_OF[reader.name])
    if pushes != elements:
        missing, surplus = Counter(elements) - Counter(pushes), Counter(pushes) - Counter(elements)
        report.wrong.append(
            f"{reader.name} was pushed {len(pushes):,} elements instead of {len(elements):,}: {missing.total()} are "
            f"missing, {surplus.total()} too many, or else the order is another"
        )
    got = sinks.stack.log_of(reader.name).read_bytes().split(b"\n")[:-1]
    expected = [line for element in elements for line in element.split(b"\n")]
    missing, surplus = Counter(expected) - Counter(got), Counter(got) - Counter(expected)
    if surplus:
        report.wrong.append(f"{reader.name} got {surplus.total()} lines that nobody sent it, or twice")
    report.lost_by_redis[reader.name] += missing.total()
    if missing.total() > report.kills[f"kill Redis {reader.server}"]:
        report.wrong.append(f"{reader.name} lacks {missing.total()} lines, more than its Redis was killed")
    if reader.end == "left" and not is_in_order(got, expected):
        report.wrong.append(f"{reader.name} did not get the oldest first")


def is_in_order(some: Sequence[Any], all_: Sequence[Any]) -> bool:
    """Whether all of the first are in the second, in its order."""
    rest = iter(all_)
    return all(each in rest for each in some)


def requests_in(log: Path) -> Iterator[tuple[str, str, str]]:
    """What the receiver took: path, id, body. A line that it was killed in the middle of was answered to nobody."""
    for line in log.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            took = json.loads(line)
            yield took["path"], took["id"], took["body"]


def _compare_single(report: FeedReport, requests: list[tuple[str, str]], elements: list[bytes]) -> None:
    bodies: dict[str, set[str]] = {}
    for id_, body in requests:
        bodies.setdefault(id_, set()).add(body)
    if any(len(each) > 1 for each in bodies.values()):
        report.wrong.append("a webhook came again with another body")
    firsts = [_element(body) for body in dict.fromkeys(body for _, body in requests)]
    if firsts != list(dict.fromkeys(elements)):
        report.wrong.append(f"of webhooks one by one {len(firsts):,} elements came, or in another order")
    if len(bodies) != len(firsts):
        report.wrong.append(f"{len(firsts):,} elements came under {len(bodies):,} ids")
    report.repeated["one by one"] = len(requests) - len(elements)


def _element(body: str) -> bytes:
    """The record that a request is about: what is no UTF-8 is in an envelope."""
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        return base64.b64decode(json.loads(body)["data_base64"])
    return body.encode()


def _compare_many(report: FeedReport, envelopes: list[dict[str, Any]], received: list[tuple[int, int, bytes]]) -> None:
    came: dict[tuple[int, int], set[tuple[str, bytes]]] = {}
    for each in envelopes:
        said = (each["id"], base64.b64decode(each["data_base64"]))
        came.setdefault((each["position"], each["place"]), set()).add(said)
    if any(len(each) > 1 for each in came.values()):
        report.wrong.append("an event among many came again by another id, or with another body")
    found = [(*at, element) for at, said in came.items() for _, element in said]
    if found != received:
        report.wrong.append(f"of webhooks with many {len(found):,} events came, or in another order")
    report.repeated["many"] = len(envelopes) - len(received)


def campaign_of(element: bytes) -> str | None:
    """The campaign that a record names, read beside the pipeline."""
    try:
        named = json.loads(element)["payload"]["ref"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return named if isinstance(named, str) else None


def run(
    *,
    seed: int,
    calls: int,
    kills: int,
    rate: float,
    quiet_seconds: float = 600.0,
    gap: float = 1.0,
    is_short: bool = False,
) -> FeedReport:
    """Push, strike, settle down, compare.

    Args:
        seed: of calls, bad records, replays and blows.
        calls: to push.
        kills: processes to kill at least, other blows not counted; striking goes on while calls are pushed.
        rate: calls a second.
        quiet_seconds: the longest wait at the end, twice.
        gap: seconds between blows, on average.
        is_short: leaves out the blows that last as long as a lease.
    """
    report = FeedReport(seed)
    began = time.monotonic()
    allowed = {"FEED_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
    with (
        tempfile.TemporaryDirectory(prefix="cdr-chaos-", ignore_cleanup_errors=True) as folder,
        arena(Path(folder), (*PROCESSES, "feed"), env=allowed) as (servers, stack),
        contextlib.ExitStack() as ending,
    ):
        sinks = Sinks(Path(folder), stack)
        ending.callback(sinks.stop)
        sinks.start()
        sinks.subscribe()
        pusher = FeedPusher(servers.dialler_redis.url, report, seed=seed, calls=calls, rate=rate)
        chaos = FeedChaos(servers, stack, report, sinks, seed=seed, is_short=is_short)
        chances = random.Random(f"gaps {seed}")
        pusher.start()
        while pusher.is_alive() or report.killed < kills:
            time.sleep(chances.uniform(0, 2 * gap))
            chaos.strike()
        pusher.join()
        settle_down(stack, report, seconds=quiet_seconds)
        settle(stack, report, seconds=quiet_seconds)
        engine = create_engine(stack.settings["DATABASE_URL"])
        compare(engine, report, sinks, pusher.elements)
        engine.dispose()
        if report.wrong:
            keep_logs(Path(folder), stack)
    report.seconds = time.monotonic() - began
    return report


def main() -> None:
    """Run once or over several seeds; exit code 1 when one is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.feed", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rate", type=float, default=150.0, help="calls a second")
    options = parser.parse_args()
    failed = False
    for seed in options.seed:
        report = run(seed=seed, calls=options.calls, kills=options.kills, rate=options.rate)
        report.show()
        failed |= bool(report.wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
