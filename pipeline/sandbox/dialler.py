"""A simulated dialler: it appends CDRs to a Redis list and serves their recordings over HTTP.

Run it with `python -m pipeline.sandbox.dialler --redis-url redis://127.0.0.1:8001/0 --calls 2000 --seed 1`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Self, get_args

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.sandbox.api import Faults, RecordingsApi
from pipeline.sandbox.broken import broken
from pipeline.sandbox.calls import CallGenerator, SimulatedCall, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTIFICATIONS = "enigma:notifications:campaigns"
"""The list, contract section 5."""

COUNTERS = "stats:campaign:{}:call_stats:counters"
"""A hash a campaign, contract section 9.2."""

_CHUNK = 500  # elements an RPUSH
_TICK_SECONDS = 0.01
_PAST = timedelta(minutes=10)  # how far back the first call lies by default: at 200 callees a second, over 100,000


class SimulatedDialler:
    """A dialler on one Redis list and one HTTP port. A context manager: inside it, the HTTP port is open.

    Attributes:
        api: serves the recordings; `api.requests` and `api.served` count, `api.stop()` and `api.start()`
            close and open its port.
        calls: all calls whose elements were pushed, in that order.
        dropped: calls that were counted and whose element was not pushed, on demand.
        bad_elements: the broken elements that were pushed.
        replayed: how many elements were pushed once more.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        seed: int = 1,
        start: datetime | None = None,
        variant: Variant = "eng",
        key: str = NOTIFICATIONS,
        http_host: str = "127.0.0.1",
        http_port: int = 0,
        ready_after: float = 0.2,
        pace: float = 200.0,
        first_call_ref: int = 1,
        null_call_ref_share: float = 0.0,
        drop_share: float = 0.0,
    ) -> None:
        """Nothing is pushed and nothing listens yet.

        Args:
            redis_url: the client's Redis of the dialler.
            seed: with `start` it decides every element.
            start: aware instant of the first call; default ten minutes ago, so that calls lie in the past.
            variant: how fields are written.
            key: the list to append to.
            http_host: where to serve recordings.
            http_port: 0 takes a free one.
            ready_after: seconds from a call's push until its recording is there.
            pace: callees a second of *simulated* time, see `CallGenerator`.
            first_call_ref: the first call's reference.
            null_call_ref_share: of inbound calls, see `CallGenerator`.
            drop_share: of all calls, those whose CDR gets lost before it is on the list; may be set at any time.

        Raises:
            ValueError: `start` is naive.
        """
        self.api = RecordingsApi(host=http_host, port=http_port, seed=seed)
        self.api.place = self.place_calls
        self._placing = threading.Lock()  # the API's threads place calls too
        self.calls: list[SimulatedCall] = []
        self.dropped: list[SimulatedCall] = []
        self.drop_share = drop_share
        self.bad_elements: list[bytes] = []
        self.replayed = 0
        self._variant = variant
        self._key = key
        self._ready_after = ready_after
        self._source = CallGenerator(
            seed,
            start or datetime.now(UTC) - _PAST,
            pace=pace,
            first_call_ref=first_call_ref,
            null_call_ref_share=null_call_ref_share,
        )
        self._bad_rng = Random(f"bad {seed}")
        self._drop_rng = Random(f"drop {seed}")
        self._replay_rng = Random(f"replay {seed}")
        # A push that is tried again may be pushed twice, and the counts would not say so.
        self._redis = redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))

    def __enter__(self) -> Self:
        self.api.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.stop()
        self._redis.close()

    @property
    def api_url(self) -> str:
        """`http://HOST:PORT` of the recordings."""
        return self.api.url

    @property
    def faults(self) -> Faults:
        """What goes wrong over HTTP; set its fields at any time."""
        return self.api.faults

    def place_calls(self, count: int, *, rate: float = 0.0, bad_share: float = 0.0) -> list[SimulatedCall]:
        """Push the elements of the next calls; their recordings become known first.

        Args:
            count: of calls.
            rate: calls a second; 0 pushes as fast as it goes.
            bad_share: broken elements to push in between, as a share of `count`; see `bad_elements`.

        Returns:
            The calls, without the broken elements.

        Raises:
            redis.RedisError: Redis is away. The chunk that was under way is not in `calls`, though Redis may
                have taken it.
        """
        placed: list[SimulatedCall] = []
        for chunk in _chunks(count, rate):
            with self._placing:
                placed += self._place(chunk, bad_share)
        return placed

    def _place(self, count: int, bad_share: float) -> list[SimulatedCall]:
        calls = self._source.take(count)
        bad = [broken(self._bad_rng) for _ in calls if self._bad_rng.random() < bad_share]
        lost = [call for call in calls if self.drop_share and self._drop_rng.random() < self.drop_share]
        lost_refs = {call.call_ref for call in lost}
        elements = [call.element(self._variant) for call in calls if call.call_ref not in lost_refs]
        for element in bad:
            elements.insert(self._bad_rng.randint(0, len(elements)), element)
        self.api.add(calls, ready_after=self._ready_after)
        self.api.listing.add(calls)
        self.push(elements)
        self.count(calls)
        self.calls += calls
        self.dropped += lost
        self.bad_elements += bad
        return calls

    def count(self, calls: Iterable[SimulatedCall]) -> None:
        """Count ended calls in the hashes of their campaigns, as the dialler does right after each CDR (section 9.2).

        Raises:
            redis.RedisError: Redis is away.
        """
        counts: dict[str, Counter[str]] = {}
        for call in calls:
            counts.setdefault(call.campaign, Counter()).update(_counted_as(call))
        with self._redis.pipeline() as asked:
            for campaign, fields in counts.items():
                for field, number in fields.items():
                    asked.hincrby(COUNTERS.format(campaign), field, number)
            asked.execute()

    def begin_counting_anew(self, campaign: str) -> None:
        """Forget a campaign's counters, as happens when it is halted."""
        self._redis.delete(COUNTERS.format(campaign))

    def push_late(self) -> int:
        """Push the elements that were dropped, uncounted: they had been counted; returns how many."""
        late, self.dropped = self.dropped, []
        self.push(call.element(self._variant) for call in late)
        return len(late)

    def replay(self, share: float, *, rate: float = 0.0) -> list[SimulatedCall]:
        """Push elements again, byte for byte, as the vendor does from backup files (contract section 5).

        Args:
            share: of the calls pushed so far; above 1, some are repeated more than once.
            rate: elements a second; 0 pushes as fast as it goes.

        Returns:
            The calls that were repeated.

        Raises:
            redis.RedisError: Redis is away.
        """
        whole, part = divmod(round(share * len(self.calls)), max(len(self.calls), 1))
        repeated = self.calls * whole + self._replay_rng.sample(self.calls, part)
        self._replay_rng.shuffle(repeated)
        left = iter(repeated)
        for chunk in _chunks(len(repeated), rate):
            self.push(call.element(self._variant) for call in itertools.islice(left, chunk))
            self.replayed += chunk
        return repeated

    def push(self, elements: Iterable[bytes]) -> None:
        """RPUSH any elements at once.

        Raises:
            redis.RedisError: Redis is away.
        """
        if values := list(elements):
            self._redis.rpush(self._key, *values)

    def backlog(self) -> int:
        """How many elements nobody has taken yet."""
        return int(self._redis.llen(self._key))

    def summary(self) -> dict[str, Any]:
        """What was pushed so far, for comparing it with what arrived."""
        return {
            "calls": len(self.calls),
            "talk_seconds": sum(call.talk_seconds for call in self.calls),
            "recordings": sum(call.has_recording for call in self.calls),
            "end_reasons": dict(sorted(Counter(call.end_reason for call in self.calls).items())),
            "dropped": len(self.dropped),
            "bad": len(self.bad_elements),
            "replayed": self.replayed,
        }


def _counted_as(call: SimulatedCall) -> Iterable[str]:
    """The counters that a call raises."""
    yield "total_calls"
    yield f"total_{call.direction}"
    if call.extension is not None:
        yield "answered"
    elif call.end_reason in {"callee_hungup", "agent_hungup", "voicemail"}:
        yield "dropped"
    else:
        yield {"reject": "rejected", "error": "failed", "failed": "failed"}.get(call.end_reason, "unanswered")


def steal(redis_url: str, count: int, *, key: str = NOTIFICATIONS) -> list[bytes]:
    """Take elements off the list as a second consumer does, which the list does not allow; returns them."""
    with redis.Redis.from_url(redis_url, client_name="another-integrator") as thief:
        taken = [thief.brpop([key], timeout=1) for _ in range(count)]
    return [each[1] for each in taken if each is not None]


def _chunks(count: int, rate: float) -> Iterable[int]:
    """How many to push next until `count` are pushed: large chunks, or what is due at `rate` a second."""
    if rate <= 0:
        yield from [_CHUNK] * (count // _CHUNK)
        if count % _CHUNK:
            yield count % _CHUNK
        return
    began, done = time.monotonic(), 0
    while done < count:
        due = min(int((time.monotonic() - began) * rate) + 1, count)
        if due > done:
            yield due - done
            done = due
        else:
            time.sleep(min(_TICK_SECONDS, 1 / rate))


def main(arguments: Sequence[str] | None = None) -> int:
    """Place calls, say in a line of JSON what was placed, and with `--stay` serve until told to end."""
    options = _parser().parse_args(arguments)
    if options.stay:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
    dialler = SimulatedDialler(
        options.redis_url,
        seed=options.seed,
        start=options.start,
        variant=options.variant,
        key=options.key,
        http_host=options.http_host,
        http_port=options.http_port,
        ready_after=options.ready_after,
        first_call_ref=options.first_call_ref,
        drop_share=options.drop_share,
    )
    began = time.perf_counter()
    with dialler:
        dialler.place_calls(options.calls, rate=options.rate, bad_share=options.bad_share)
        dialler.replay(options.replay_share, rate=options.rate)
        seconds = round(time.perf_counter() - began, 3)
        print(json.dumps({**dialler.summary(), "seconds": seconds, "api_url": dialler.api_url}), flush=True)
        while options.stay:
            signal.pause()
    return 0


def _leave(_number: int, _frame: object) -> None:
    """End the program from wherever it is, closing what is open."""
    sys.exit(0)


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("give its offset from UTC, such as 2026-01-31T08:00:00+02:00")
    return moment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox.dialler", description="A simulated dialler.")
    add = parser.add_argument
    add("--redis-url", required=True, help="the Redis to push CDRs to")
    add("--key", default=NOTIFICATIONS, help="the list (default: %(default)s)")
    add("--http-host", default="127.0.0.1", help="address of the recordings (default: %(default)s)")
    add("--http-port", type=int, default=0, help="port of the recordings (default: a free one)")
    add("--calls", type=int, default=2000, help="how many to place (default: %(default)s)")
    add("--seed", type=int, default=1, help="same seed and start, same bytes (default: %(default)s)")
    add("--start", type=_instant, help="first call, ISO 8601 with offset (default: an hour ago)")
    add("--rate", type=float, default=0.0, help="calls a second; 0: as fast as it goes (default)")
    add(
        "--variant",
        choices=get_args(Variant),
        default="eng",
        help="how fields are written (default: %(default)s)",
    )
    add("--bad-share", type=float, default=0.0, help="broken elements in between (default: none)")
    add("--drop-share", type=float, default=0.0, help="calls that are counted and never pushed (default: none)")
    add("--replay-share", type=float, default=0.0, help="elements pushed once more at the end (default: none)")
    add(
        "--ready-after",
        type=float,
        default=0.2,
        help="seconds until a recording is there (default: %(default)s)",
    )
    add("--first-call-ref", type=int, default=1, help="the first call's reference (default: %(default)s)")
    add("--stay", action="store_true", help="go on serving recordings until SIGINT or SIGTERM")
    return parser


if __name__ == "__main__":
    sys.exit(main())
