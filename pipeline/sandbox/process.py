"""Child processes that never outlive this one, and never hear the terminal's Ctrl-C.

Linux can signal a process when its parent goes (`PR_SET_PDEATHSIG`), but "parent" means the *thread* that
started it. So every child is started from one thread that lives as long as this process, whichever asks.

The child first runs a few lines of Python that drop root, ask for that signal and then become the server.
That costs some 30 ms and spares a `preexec_fn`, which may deadlock in a process with threads.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_Started = Future[subprocess.Popen[bytes]]

# Arguments: parent's pid, signal on its death, uid, gid (-1: stay who we are), then the command.
_BECOME = """
import ctypes, os, signal, sys
parent, death, uid, gid = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(1, ctypes.c_ulong(death), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
    sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
if os.getppid() != parent:
    sys.exit("the parent died before the server was started")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    os.execv(sys.argv[5], sys.argv[5:])
except OSError as error:
    sys.exit(sys.argv[5] + ": " + error.strerror)
"""


@dataclass(frozen=True, slots=True)
class Account:
    """The system's user to run a child as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in its own session, its output appended to ``log``.

    Args:
        command: absolute path of the program, then its arguments.
        folder: its working directory; it may be below directories that ``account`` cannot enter.
        log: where its output and errors go.
        env: its environment (default: ours).
        account: the user to become first; only root may.
        death_signal: what it is sent when this process dies, however it dies.

    Raises:
        OSError: nothing could be started, or ``log`` cannot be written.
    """
    account = account or Account(-1, -1)
    become = [sys.executable, "-I", "-S", "-c", _BECOME]
    numbers = [os.getpid(), int(death_signal), account.uid, account.gid]
    arguments = [*become, *map(str, numbers), *map(str, command)]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                arguments,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _starter(os.getpid()).start(start)


class _Starter:
    """A thread that starts processes and ends with ours only."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], _Started]]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._run, name="sandbox-starter", daemon=True).start()

    def start(self, action: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        started: _Started = Future()
        self._asked.put((action, started))
        return started.result()

    def _run(self) -> None:
        while True:
            action, started = self._asked.get()
            try:
                started.set_result(action())
            except Exception as error:  # noqa: BLE001  it is raised again in the thread that asked
                started.set_exception(error)
            del action, started


@cache
def _starter(_pid: int) -> _Starter:
    """The one starter of this process: a forked child has another pid, and none of its parent's threads."""
    return _Starter()


def children(pid: int) -> list[int]:
    """The pids whose parent is ``pid``, now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(encoding="latin-1")
            except OSError:  # it ended while we were looking
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            if parent == pid:
                found.append(int(entry.name))
    return found


def signal_all(pid: int, number: signal.Signals) -> list[int]:
    """Send a signal to a process and its children; the parent is held still lest it start another meanwhile.

    Returns:
        The children's pids.

    Raises:
        ProcessLookupError: there is no such process.
    """
    os.kill(pid, signal.SIGSTOP)
    while state(pid) not in "TtZX":  # microseconds
        os.sched_yield()
    family = children(pid)
    for child in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
    os.kill(pid, number)
    return family


def state(pid: int) -> str:
    """The letter that proc(5) gives a process: `T` stopped, `Z` a zombie, `X` dead or gone altogether."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return fields.split()[0]
