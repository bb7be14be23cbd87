"""What one that is dead costs the pipeline and those who are far behind: some seconds with it and without, in turns.

Runs of a whole backlog differ by a tenth from one to the next, which hides a fiftieth. Here nothing but the dead one
comes and goes, and each of its windows is compared with the two around it.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import statistics
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from sqlalchemy import text

from pipeline.database.engine import make_engine, reading
from pipeline.feed.rules.event import RECEIVED
from pipeline.feed.rules.filter import Filter
from pipeline.feed.subscribers import add
from pipeline.sandbox.servers import free_port
from tests.bench.feed import a_list, a_webhook, by_itself, fill, integrators, taken
from tests.bench.latency import push
from tests.bench.processes import costs
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Engine

    from pipeline.sandbox.stack import Stack
    from tests.bench.contestants import Bench
    from tests.bench.feed import Outside

OTHERS = 4
BEHIND = 3_000_000
"""Events that four lists have to catch up with, which is more than they do in all windows."""
CDR_RATE = 500
"""Of the pipeline. In a backlog the feed gives way to it, and one that is dead is hardly tried."""
PUSH_SECONDS = 5.0
FIRST_REF = 700_000_000
WINDOW_SECONDS = 2.5
WINDOWS = 20
"""Of each kind; one more without it at the end."""
REST_SECONDS = 0.3
MISSES = 12
"""Of one that has been dead for a day: it is tried once in half an hour or less."""
ENV = {"FEED_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}

WENT_ON = {
    "others": "SELECT sum(delivered) FROM subscribers WHERE name <> 'dead'",
    "pipeline": "SELECT coalesce(sum(records), 0) FROM batches WHERE finished_at IS NOT NULL",
}
"""Events, and CDRs, so far."""
KEPT = ("speed", "processor")


class Dead:
    """Nobody listens there.

    Attributes:
        url: where.
    """

    word = "refused"

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}/"

    def is_tried(self, engine: Engine) -> bool:
        """Whether it was found dead; it is not tried again for long."""
        return _dead_is(engine, "due_at > now() AND state = 'active'")

    def let_go(self, engine: Engine) -> None:
        """It is not dead for now."""

    def close(self) -> None:
        """End."""


class Hanging(Dead):
    """Takes whatever comes, and answers when it is told to end: by hanging up."""

    word = "hanging"

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._held.append(self._socket.accept()[0])

    def is_tried(self, engine: Engine) -> bool:
        return bool(self._held)

    def let_go(self, engine: Engine) -> None:
        while self._held:
            self._held.pop().close()
        eventually(lambda: not _dead_is(engine, "leased_until > now()"), seconds=20.0)

    def close(self) -> None:
        self._socket.close()
        while self._held:
            self._held.pop().close()


class Window(NamedTuple):
    """Some seconds."""

    rate: float
    """Events, or CDRs, a second."""
    each_a_second: float
    """The same a second of processor time, of all processes: other machines on the same host take none of it."""


class Beside(NamedTuple):
    """What is watched while one is dead, and is not."""

    engine: Engine
    outside: Outside
    what: str
    """``others`` or ``pipeline``."""
    roots: dict[str, int]
    """The processes that work for it."""

    def kept(self, dead: Dead) -> dict[str, Any]:
        """What it does while the dead one is tried and hangs, or was tried and refused, over that before and after."""
        without, with_it = [self._window()], []
        for _ in range(WINDOWS):
            _set(self.engine, "state = 'active', due_at = now()")
            eventually(functools.partial(dead.is_tried, self.engine), seconds=30.0)
            with_it.append(self._window())
            _set(self.engine, "state = 'paused'")
            dead.let_go(self.engine)
            without.append(self._window())
        return {
            "rate": round(statistics.fmean(window.rate for window in without)),
            "speed": _kept([window.rate for window in with_it], [window.rate for window in without]),
            "processor": _kept(
                [window.each_a_second for window in with_it], [window.each_a_second for window in without]
            ),
        }

    def _window(self) -> Window:
        with redis.Redis.from_url(self.outside.redis.url) as client:  # somebody has read them
            client.unlink(*(f"list:{nth}" for nth in range(OTHERS)))
        time.sleep(REST_SECONDS)
        went, at, worked = self._went_on()
        time.sleep(WINDOW_SECONDS)
        went_then, then, worked_then = self._went_on()
        return Window((went_then - went) / (then - at), (went_then - went) / (worked_then - worked))

    def _went_on(self) -> tuple[int, float, float]:
        with reading(self.engine) as connection:
            went = connection.scalar(text(WENT_ON[self.what]))
        return int(went), time.monotonic(), sum(each.cpu_seconds for each in costs(self.roots).values())


def _kept(with_it: Sequence[float], without: Sequence[float]) -> dict[str, Any]:
    each = [round(own / statistics.fmean(two), 3) for own, two in zip(with_it, pairwise(without), strict=True)]
    return {
        "each": each,
        "median": round(statistics.median(each), 3),
        "mean": round(statistics.fmean(each), 3),
        "error": round(statistics.stdev(each) / len(each) ** 0.5, 3),
    }


def _set(engine: Engine, assignments: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE subscribers SET {assignments} WHERE name = 'dead'"))


def _dead_is(engine: Engine, condition: str) -> bool:
    with reading(engine) as connection:
        return bool(connection.scalar(text(f"SELECT {condition} FROM subscribers WHERE name = 'dead'")))


def measure(bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """What one that is dead costs four others that are far behind, and the pipeline at a steady rate."""
    result: dict[str, Any] = {"others": {}, "pipeline": {}}
    for dead in (Dead(), Hanging()):
        with contextlib.closing(dead), integrators(bench, kept=False) as outside:
            for what, measured in (("others", _behind), ("pipeline", _at_a_rate)):
                bench.empty()
                outside.empty()
                engine = make_engine(bench.database_url, application="bench")
                found = result[what][dead.word] = measured(bench, engine, outside, dead)
                engine.dispose()
                kept = ", ".join(f"{each} {found[each]['mean']} ± {found[each]['error']}" for each in KEPT)
                tell(f"{what} beside one {dead.word}: {kept}, of {found['rate']:,}/s")
    return result


def _behind(bench: Bench, engine: Engine, outside: Outside, dead: Dead) -> dict[str, Any]:
    fill(engine, BEHIND)
    with bench.stack(f"behind-{dead.word}", ENV) as stack:
        _subscribe(engine, outside, dead, from_start=True)
        stack.start(["feed", "worker", "beat"])
        eventually(lambda: taken(engine) > 0, check=stack.check)
        with by_itself(stack):
            found = Beside(engine, outside, "others", _roots(bench, stack, outside)).kept(dead)
        assert taken(engine) < OTHERS * BEHIND, "they were through before the end"
    return found


def _at_a_rate(bench: Bench, engine: Engine, outside: Outside, dead: Dead) -> dict[str, Any]:
    with bench.pipeline(f"rate-{dead.word}", env=ENV) as stack:
        _subscribe(engine, outside, dead, from_start=False)
        stack.start(["feed"])
        with _pushed(bench.servers.dialler_redis.url):
            eventually(lambda: taken(engine) > 0, seconds=30.0, check=stack.check)
            return Beside(engine, outside, "pipeline", _roots(bench, stack, outside)).kept(dead)


@contextlib.contextmanager
def _pushed(url: str) -> Iterator[None]:
    """Calls end all the while."""
    ended = threading.Event()

    def go_on() -> None:
        at = FIRST_REF
        while not ended.is_set():
            at += len(push(url, CDR_RATE, PUSH_SECONDS, at))

    pushing = threading.Thread(target=go_on)
    pushing.start()
    try:
        yield
    finally:
        ended.set()
        pushing.join()


def _roots(bench: Bench, stack: Stack, outside: Outside) -> dict[str, int]:
    return {name: process.pid for name, process in stack.processes.items()} | bench.server_roots | outside.roots


def _subscribe(engine: Engine, outside: Outside, dead: Dead, *, from_start: bool) -> None:
    """Four lists, and the dead one, paused."""
    received = Filter(("*",), ("*",), (RECEIVED,))
    its = a_webhook("dead", dead.url, batch=500)._replace(wanted=received)
    with engine.begin() as connection:
        for each in (*(a_list(f"list{nth}", outside, nth) for nth in range(OTHERS)), its):
            add(connection, each, who="bench", from_start=from_start)
        connection.execute(
            text("UPDATE subscribers SET state = 'paused', misses = :misses WHERE name = 'dead'"), {"misses": MISSES}
        )
