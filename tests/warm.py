"""Processes of their own that have nothing left to import: a warm one forks for each command or piece of code.

A command of the pipeline spends a second of a core on its imports and milliseconds on its work. Here the imports are
done once, before any setting is read; each run then has an environment, arguments, files and an exit code of its own,
as if it had been started by a shell. One that lasts also has a session of its own, and dies with whoever started it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer.main

from tests.commands import build_each_once

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = (
    *("pipeline.cli", "pipeline.database.migrations", "pipeline.ingestor", "pipeline.flower.extension"),
    *(f"pipeline.tasks.{path.stem}" for path in sorted((ROOT / "pipeline" / "tasks").glob("[a-z]*.py"))),
    *("celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.prefork"),
    *("celery.concurrency.thread", "kombu.transport.redis", "flower.command", "uvicorn", "pipeline.api.app"),
)
AT_IMPORT = {"REMAP_SIGTERM": "SIGQUIT"}
"""What Celery reads as it is imported. The Procfile sets it for every worker, and nothing else heeds it."""

COMMAND = "from pipeline.__main__ import main; main()"


class Lasting:
    """A process that was forked to last, as `subprocess.Popen` shows one."""

    def __init__(self, pid: int, ended: Path) -> None:
        self.pid = pid
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        try:
            return int(self._ended.read_text())
        except FileNotFoundError:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() >= until:
                raise subprocess.TimeoutExpired([], timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Warm:
    """The process that forks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cdr-tests-warm-", ignore_cleanup_errors=True)
        self._numbers = itertools.count()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=ROOT,
            env=os.environ | AT_IMPORT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        """Nothing is asked of it any more."""
        self._server.communicate()
        self._folder.cleanup()

    def start(self, *command: str, env: Mapping[str, str], log: Path) -> Lasting:
        """Start a program of ours, in the checkout, its output appended to a log."""
        log.touch()
        ended = Path(self._folder.name) / str(next(self._numbers))
        pid = self._ask({"lasting": command, "env": dict(env), "log": str(log), "ended": str(ended)})
        return Lasting(pid, ended)

    def _ask(self, asked: Mapping[str, Any]) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return int(json.loads(self._server.stdout.readline()))

    def pipeline(
        self, *words: str, env: Mapping[str, str] = os.environ, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``pipeline`` with these words."""
        return self.python(COMMAND, *words, env=env, stdin=stdin)

    def python(
        self, code: str, *words: str, env: Mapping[str, str] = os.environ, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run code, with these words for arguments."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("in", "out", "err")]
            files[0].write_text(stdin or "")
            asked = {"code": code, "argv": ["pipeline", *words], "env": dict(env), "files": [*map(str, files)]}
            ended = self._ask(asked)
            return subprocess.CompletedProcess(words, ended, files[1].read_text(), files[2].read_text())


@functools.cache
def warm() -> Warm:
    """The one of this process; ``tests/conftest.py`` ends it."""
    return Warm()


def serve() -> None:
    """Fork for each line, and answer with the exit code, or with the id of a process that lasts."""
    for name in IMPORTED:
        importlib.import_module(name)
    from pipeline.celery import app  # noqa: PLC0415 - only this process needs it
    from pipeline.cli import app as commands  # noqa: PLC0415

    build_each_once()
    typer.main.get_command(commands)
    assert not app.configured, "the settings are those of whoever runs it"
    gc.freeze()
    attendants: list[int] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "lasting" in asked:
            reading, writing = os.pipe()
            attendants.append(os.fork())
            if not attendants[-1]:
                attend(asked, writing)
            os.close(writing)
            print(os.read(reading, 20).decode(), flush=True)  # noqa: T201
            os.close(reading)
        else:
            child = os.fork()
            if not child:
                become(asked)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
        attendants = [each for each in attendants if os.waitpid(each, os.WNOHANG)[0] == 0]


def die_with(parent: int) -> None:
    """Be killed when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL), *map(ctypes.c_ulong, (0, 0, 0)))  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def attend(asked: dict[str, Any], writing: int) -> None:
    """Start a process that lasts, tell its id, and write down how it ended; come back in that process alone."""
    die_with(os.getppid())
    us = os.getpid()
    child = os.fork()
    if not child:
        os.close(writing)
        last(asked, us)
    os.write(writing, str(child).encode())
    os.closerange(0, 256)
    _, status = os.waitpid(child, 0)
    ended = Path(asked["ended"])
    ended.with_suffix(".new").write_text(str(os.waitstatus_to_exitcode(status)))
    ended.with_suffix(".new").rename(ended)
    os._exit(0)


def last(asked: dict[str, Any], parent: int) -> NoReturn:
    """Be the program that was asked for, to its end."""
    os.setsid()
    die_with(parent)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.environ.clear()
    os.environ.update(asked["env"])
    name, *words = asked["lasting"]
    program = str(Path(sys.executable).parent / name)
    sys.argv = [program, *words]
    runpy.run_path(program, run_name="__main__")
    sys.exit()


def become(asked: dict[str, Any]) -> NoReturn:
    """Be the process that was asked for, to its end."""
    for number, path in enumerate(asked["files"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the old one has read ahead
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]
    code = 0
    try:
        exec(asked["code"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
