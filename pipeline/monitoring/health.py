"""Signs of life in files: each process touches one as its loop turns, and a supervisor looks how old it is.

Only the standard library is imported here: whoever is asked every few seconds must start at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

RUN_DIR = "var/run"
SOURCE = "enigma"
ALIVE_WITHIN_SECONDS = 60.0
"""A loop turns every few seconds; an outage may hold it up for half a minute."""

TOUCH_SECONDS = 1.0


class Health(NamedTuple):
    """Whether a process is well, and a sentence that says why."""

    well: bool
    says: str


class Sign:
    """One process's files: ``NAME.alive``, ``NAME.ready`` and of a worker ``.finished``, ``.waiting`` and ``.moved``.

    A folder that cannot be written does not stop the process: it only looks dead to its supervisor.

    Args:
        folder: ``PIPELINE_RUN_DIR``.
        name: the process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._alive, self._ready, self._finished, self._waiting, self._moved = (
            folder / f"{name}.{what}" for what in ("alive", "ready", "finished", "waiting", "moved")
        )
        self._touched_at = float("-inf")
        self._is_ready = False
        self._is_gone = False

    def alive(self) -> None:
        """The loop has turned. Cheap enough for every turn."""
        now = time.monotonic()
        if now - self._touched_at >= TOUCH_SECONDS and not self._is_gone:
            self._touched_at = now
            _touch(self._alive)

    def ready(self, queues: tuple[str, ...] = ()) -> None:
        """It can do its work; a worker says from which queues."""
        if not self._is_ready:
            self._is_ready = True
            _write(self._ready, "\n".join(queues))

    def not_ready(self) -> None:
        """Something it needs is away."""
        if self._is_ready:
            self._is_ready = False
            _remove(self._ready)

    def finished(self) -> None:
        """A task ended, in whichever of the worker's processes."""
        _touch(self._finished)

    def moved(self, seconds_ago: float | None) -> None:
        """When the slowest download in hand last moved; None: there is none."""
        if seconds_ago is None:
            _remove(self._moved)
        else:
            _touch(self._moved, at=time.time() - seconds_ago)

    def gone(self) -> None:
        """The process ends on purpose; a last turn of its loop changes nothing."""
        self._is_gone = True
        for path in (self._alive, self._ready, self._finished, self._waiting, self._moved):
            _remove(path)


def ingestor_name(source: str) -> str:
    """An ingestor's name: several sources' may run on one machine."""
    return f"ingestor-{source}"


def sign_name(process: str) -> str:
    """The name of a process's files; ``ingestor`` is that of this environment's dialler."""
    return ingestor_name(os.environ.get("ENIGMA_SOURCE") or SOURCE) if process == "ingestor" else process


def run_dir() -> Path:
    """The folder of the files, without reading all the other settings."""
    return Path(os.environ.get("PIPELINE_RUN_DIR") or RUN_DIR)


def health(process: str, *, within_seconds: float = ALIVE_WITHIN_SECONDS, ready: bool = False) -> Health:
    """Whether a process on this machine lives.

    Args:
        process: ``ingestor``, ``api``, ``beat``, ``flower``, or what a worker's ``--hostname`` has before the ``@``.
        within_seconds: how old its last sign of life may be.
        ready: whether it must also be able to do its work.
    """
    if process == "flower":
        return flower_health()
    name = sign_name(process)
    age = age_of(run_dir() / f"{name}.alive")
    if age is None:
        return Health(well=False, says=f"{name} is not running: there is no {run_dir() / name}.alive")
    if abs(age) > within_seconds:
        return Health(well=False, says=f"{name} gave its last sign of life {age:.0f} s ago")
    if ready and age_of(run_dir() / f"{name}.ready") is None:
        return Health(well=False, says=f"{name} lives and is not ready: what it needs is away, or it has just started")
    return Health(well=True, says=f"{name} gave a sign of life {max(0.0, age):.0f} s ago")


def finished_lately(name: str, longest_seconds: float) -> Health | None:
    """Well, when a worker finished a task no longer ago than that; None: somebody must look what waits for it.

    Args:
        name: of the process's files.
        longest_seconds: how long it may finish nothing while messages wait.
    """
    finished = age_of(run_dir() / f"{name}.finished")
    if finished is None or finished > longest_seconds:
        return None
    _remove(run_dir() / f"{name}.waiting")
    return Health(well=True, says=f"{name} finished a task {max(0.0, finished):.0f} s ago")


def stuck_download(name: str, longest_seconds: float) -> Health | None:
    """A worker that has a download which does not move is unwell, whatever its other threads do; None: it has none."""
    age = age_of(run_dir() / f"{name}.moved")
    if age is None or age <= longest_seconds:
        return None
    return Health(well=False, says=f"a download of {name} has not moved for {age:.0f} s")


def has_queues(process: str) -> bool:
    """Whether it is a worker: of the others nothing can wait in a queue."""
    return process not in {"api", "beat", "flower"} and not process.startswith("ingestor")


def age_of(path: Path) -> float | None:
    """How many seconds ago a file was touched; None when it is not there."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def flower_health(timeout_seconds: float = 5.0) -> Health:
    """Whether Flower answers where its environment variables say it listens."""
    import http.client  # noqa: PLC0415 - only Flower has an address

    address = os.environ.get("FLOWER_ADDRESS") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - asked, not listened on
    port = int(os.environ.get("FLOWER_PORT") or 5555)
    prefix = (os.environ.get("FLOWER_URL_PREFIX") or "").strip("/")
    path = f"/{prefix}/healthcheck" if prefix else "/healthcheck"
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Health(well=False, says=f"flower does not answer on {host}:{port}: {error}")
    finally:
        connection.close()
    return Health(well=status == 200, says=f"flower answers {status} on {host}:{port}")


def _touch(path: Path, *, at: float | None = None) -> None:
    times = None if at is None else (at, at)
    try:
        os.utime(path, times)
    except OSError:  # not there yet, or cleaned away
        _write(path, f"{os.getpid()}\n")
        with contextlib.suppress(OSError):
            os.utime(path, times)


def _write(path: Path, content: str) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
