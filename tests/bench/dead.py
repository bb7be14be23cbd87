"""What one that is dead costs those who are far behind: the same minutes with it and without, some seconds in turns.

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
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from pipeline.database.engine import reading
from tests.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

WINDOW_SECONDS = 4.0
WINDOWS = 16
"""Of each kind; one more without it at the end."""
REST_SECONDS = 0.3


class Hanging:
    """Takes whatever comes, and answers when it is told to end: by hanging up."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._held.append(self._socket.accept()[0])

    def hang_up(self) -> None:
        """Let go of whoever waits."""
        while self._held:
            self._held.pop().close()

    def close(self) -> None:
        """End."""
        self._socket.close()
        self.hang_up()


@contextlib.contextmanager
def hanging() -> Iterator[Hanging]:
    """One that never answers, for the length of a ``with`` block."""
    taker = Hanging()
    try:
        yield taker
    finally:
        taker.close()


def beside(engine: Engine, taker: Hanging | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """The rate of all others while ``dead`` is tried and hangs, or is tried and refused, over that before and after.

    Args:
        engine: the database, in which all but ``dead`` are far behind, and ``dead`` is paused.
        taker: whom it hangs with; None: nobody listens.
        tell: says how far it is.
    """
    without, with_it = [_rate(engine)], []
    for _ in range(WINDOWS):
        _set(engine, "state = 'active', due_at = now()")
        tried = "leased_until > now()" if taker is not None else "due_at > now() AND misses > 0"
        eventually(functools.partial(_dead_is, engine, tried), seconds=20.0)
        with_it.append(_rate(engine))
        _set(engine, "state = 'paused'")
        if taker is not None:
            taker.hang_up()
            eventually(lambda: not _dead_is(engine, "leased_until > now()"), seconds=20.0)
        time.sleep(REST_SECONDS)
        without.append(_rate(engine))
    each = [round(rate / statistics.fmean(around), 3) for rate, around in zip(with_it, pairwise(without), strict=True)]
    kept = {"each": each, "median": round(statistics.median(each), 3), "mean": round(statistics.fmean(each), 3)}
    error = statistics.stdev(each) / len(each) ** 0.5
    tell(f"beside one that {'hangs' if taker else 'is refused'}: {kept['median']}, mean {kept['mean']} ± {error:.3f}")
    return kept | {"error": round(error, 3), "rate": round(statistics.fmean(without)), "windows": len(each)}


def _set(engine: Engine, assignments: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE subscribers SET {assignments} WHERE name = 'dead'"))


def _dead_is(engine: Engine, condition: str) -> bool:
    with reading(engine) as connection:
        return bool(connection.scalar(text(f"SELECT {condition} FROM subscribers WHERE name = 'dead'")))


def _rate(engine: Engine) -> float:
    """Events a second to all but the dead one."""
    took, at = _delivered(engine)
    time.sleep(WINDOW_SECONDS)
    took_then, then = _delivered(engine)
    return (took_then - took) / (then - at)


def _delivered(engine: Engine) -> tuple[int, float]:
    with reading(engine) as connection:
        took = connection.scalar(text("SELECT sum(delivered) FROM subscribers WHERE name <> 'dead'"))
    return int(took), time.monotonic()
