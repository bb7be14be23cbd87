"""The whole pipeline on this machine: sandbox servers, a simulated dialler, and every process of the Procfile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from honcho.environ import parse_procfile

from pipeline.errors import PipelineError
from pipeline.sandbox.process import spawn
from pipeline.sandbox.server import ServerError, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.sandbox.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: where Procfile and deploy/ are."""

STOP_SECONDS = 10.0


class StackError(PipelineError):
    """A process of the Procfile did not do what it should."""


class Stack:
    """The Procfile's processes, each its own child with its own log, so that a test can end one of them.

    Args:
        servers: started servers.
        folder: logs and recordings go here.
        api_url: the dialler's HTTP API.
        env: settings that differ from the sandbox's own.
    """

    def __init__(self, servers: Servers, folder: Path, *, api_url: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.flower_url = f"http://127.0.0.1:{(port := free_port())}"
        self.api_url = f"http://127.0.0.1:{(api_port := free_port())}"
        self.settings = {
            "ENIGMA_REDIS_URL": servers.dialler_redis.url,
            "ENIGMA_API_URL": api_url,
            "CELERY_BROKER_URL": servers.broker.url,
            "DATABASE_URL": servers.postgres.url,
            "RECORDINGS_URL": (folder / "recordings").as_uri(),
            "PIPELINE_RUN_DIR": str(folder / "run"),
            "RECORDINGS_DELAY_SECONDS": "1",
            "RECORDINGS_RATE": "1000",  # the simulated dialler bears it, and nobody wants to wait
            "PIPELINE_API_PORT": str(api_port),
            "FLOWER_ADDRESS": "127.0.0.1",
            "FLOWER_PORT": str(port),
            "FLOWER_DB": str(folder / "flower.db"),
            "FLOWER_BASIC_AUTH": "operator:sandbox",
            **(env or {}),
        }
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIXES)},
            "PATH": path,
            **self.settings,
        }
        self.commands: dict[str, str] = parse_procfile((ROOT / "Procfile").read_text()).processes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the stack's settings, e.g. ``run("pipeline", "balance")``."""
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False, timeout=120)

    def release(self) -> None:
        """Run the Procfile's ``release`` to its end.

        Raises:
            StackError: with what it printed.
        """
        done = self.run("/bin/sh", "-c", self.commands["release"])
        if done.returncode != 0:
            raise StackError(f"release failed:\n{done.stdout}{done.stderr}")

    def start(self, names: Iterable[str] | None = None) -> None:
        """Start processes; all but ``release`` by default."""
        for name in [name for name in self.commands if name != "release"] if names is None else names:
            self.start_as(name, self.commands[name])

    def start_as(self, name: str, command: str) -> None:
        """Start any command under a name of its own, such as a second ingestor."""
        self.processes[name] = spawn(
            ["/bin/sh", "-c", f"exec {command}"],
            folder=ROOT,
            log=self.log_of(name),
            env=self.env,
        )

    def log_of(self, name: str) -> Path:
        """Where a process writes."""
        return self.folder / f"{name}.log"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal one process, not its children."""
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL a process and whatever it started."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Raise when a process ended by itself.

        Raises:
            StackError: naming it, with the end of its log.
        """
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = "\n".join(self.log_of(name).read_text(errors="replace").splitlines()[-20:])
                raise StackError(f"{name} ended with code {process.returncode}:\n{tail}")

    def stop(self, names: Iterable[str] | None = None, *, within: float = STOP_SECONDS) -> dict[str, float]:
        """SIGTERM, then wait; what is left after so many seconds is killed. Returns the seconds each one took."""
        stopping = {name: self.processes.pop(name) for name in list(names or self.processes)}
        began = time.monotonic()
        for process in stopping.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        seconds = {}
        for name, process in stopping.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, began + within - time.monotonic()))
            seconds[name] = time.monotonic() - began
            # Its children too, however it ended: each process is the leader of a session of its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return seconds


OWN_PREFIXES = (
    *("ENIGMA_", "CELERY_", "DATABASE_URL", "RECORDINGS_", "ARCHIVE_", "PIPELINE_", "FEED_", "ERASURE_"),
    *("FLOWER_", "HONCHO_"),
)
"""Settings a test must not inherit from whoever runs it."""

__all__ = ["ROOT", "ServerError", "Stack", "StackError"]
