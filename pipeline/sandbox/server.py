"""What the sandbox's servers have in common: a process of ours with a folder, a port and a log."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.errors import PipelineError
from pipeline.sandbox.process import signal_all, state

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOG_TAIL = 3000  # bytes of a server's log that an error shows
_PORT_TRIES = 5
_POLL_SECONDS = 0.005


class ServerError(PipelineError):
    """A sandbox server cannot be found, started or stopped; the message ends with the tail of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server(ABC):
    """A server process of ours: started, stopped, killed, paused and restarted on one port, with one folder.

    A context manager: entering starts it, leaving stops it. It dies with this process, however that dies, and
    it does not hear Ctrl-C of the terminal.
    """

    _name: str
    _stop_signals: tuple[signal.Signals, ...]  # tried in this order, some seconds each
    _death_signal: signal.Signals = signal.SIGKILL

    def __init__(self, folder: Path, *, start_seconds: float = 30.0, stop_seconds: float = 10.0) -> None:
        """Nothing is started yet.

        Args:
            folder: where data and log live; created when missing. Started there again, it finds its data.
            start_seconds: how long it may take until it answers, a recovery of its data included.
            stop_seconds: how long each of the ever rougher ways to stop it may take.
        """
        self.folder = folder.absolute()
        self.log = self.folder / f"{self._name}.log"
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on; the same as long as this object lives.

        Raises:
            ServerError: it was never started.
        """
        if self._port is None:
            raise ServerError(f"{self._name} was never started")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            ServerError: it is not running.
        """
        if not self.running:
            raise ServerError(f"{self._name} is not running")
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client finds it."""

    def start(self) -> None:
        """Start it and wait until it answers. The first start chooses a free port, later ones use it again.

        Raises:
            ServerError: it runs already, its program is missing, it ended, or it did not answer in time.
        """
        if self.running:
            raise ServerError(f"{self._name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        tries = 1 if self._port else _PORT_TRIES
        for left in reversed(range(tries)):
            port = self._port or free_port()
            seen = self.log.stat().st_size if self.log.exists() else 0
            try:
                self._launch(port)
                self._port = port
                self._settle()
            except ServerError:
                self._cleanup()
                if left and b"address already in use" in self._log_since(seen).lower():
                    continue
                raise
            except BaseException:  # Ctrl-C while it starts: leave nothing behind
                self._cleanup()
                raise
            return

    def stop(self) -> None:
        """Stop it cleanly, and roughly when it does not listen; does nothing when it is not running."""
        if self._process is None:
            return
        if self._paused:
            self.resume()
        for number in (*self._stop_signals, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_seconds)
                break
        self._gone()

    def kill(self) -> None:
        """SIGKILL to every process of it, as in a power cut; does nothing when it is not running."""
        if self._process is None:
            return
        shot = signal_all(self.pid, signal.SIGKILL) if self.running else []
        self._process.wait()
        _await_states(shot, "ZX")
        self._gone()

    def pause(self) -> None:
        """SIGSTOP to every process of it: clients find it connected and silent.

        Raises:
            ServerError: it is not running.
        """
        family = [self.pid, *signal_all(self.pid, signal.SIGSTOP)]
        self._paused = True
        _await_states(family, "TtZX")

    def resume(self) -> None:
        """SIGCONT: it goes on as if nothing had been.

        Raises:
            ServerError: it is not running.
        """
        signal_all(self.pid, signal.SIGCONT)
        self._paused = False

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port with the same data.

        Raises:
            ServerError: it does not come back.
        """
        self.stop()
        self.start()

    @abstractmethod
    def _prepare(self) -> None:
        """Bring the folder into the state that the server can be started in."""

    @abstractmethod
    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        """Start the process."""

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """Whether *our* process, not another that has taken the port, is ready for clients."""

    def _settle(self) -> None:  # noqa: B027  most servers have nothing to do here
        """Whatever is to be done once it answers."""

    def _cleanup(self) -> None:
        """After a start that failed."""
        self.kill()

    def _gone(self) -> None:
        """After its last process ended."""
        self._process = None
        self._paused = False

    def _launch(self, port: int) -> None:
        until = time.monotonic() + self._start_seconds
        self._process = self._spawn(port)
        while not self._answers(port):
            if self._process.poll() is not None:
                raise ServerError(f"{self._name} ended with {self._process.returncode}\n{self._tail()}")
            if time.monotonic() > until:
                raise ServerError(f"{self._name} not ready after {self._start_seconds:g} s\n{self._tail()}")
            time.sleep(_POLL_SECONDS)

    def _log_since(self, offset: int) -> bytes:
        return self.log.read_bytes()[offset:] if self.log.exists() else b""

    def _tail(self) -> str:
        return self._log_since(0)[-_LOG_TAIL:].decode(errors="replace")


def _await_states(pids: Iterable[int], letters: str) -> None:
    """Wait until a signal that cannot be ignored has been heeded: milliseconds, or longer on a busy machine."""
    while not all(state(pid) in letters for pid in pids):
        time.sleep(_POLL_SECONDS)


def package_folder(name: str) -> Path:
    """Where a package is installed, found without importing it.

    Raises:
        ServerError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(f"{name} is not installed; install the extra `sandbox`")
    return Path(next(iter(spec.submodule_search_locations)))
