"""Processes of their own that have nothing left to import: a warm one forks for each command or piece of code.

A command of the pipeline spends a second of a core on its imports and milliseconds on its work. Here the imports are
done once, before any setting is read; each run then has an environment, arguments, files and an exit code of its own,
as if it had been started by a shell.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer.main

from tests.commands import build_each_once

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = ("pipeline.cli", "pipeline.database.migrations", "pipeline.tasks.flow", "pipeline.tasks.recordings")
COMMAND = "from pipeline.__main__ import main; main()"


class Warm:
    """The process that forks."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def end(self) -> None:
        """Nothing is asked of it any more."""
        self._server.communicate()

    def pipeline(
        self, *words: str, env: Mapping[str, str] = os.environ, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``pipeline`` with these words."""
        return self.python(COMMAND, *words, env=env, stdin=stdin)

    def python(
        self, code: str, *words: str, env: Mapping[str, str] = os.environ, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run code, with these words for arguments."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("in", "out", "err")]
            files[0].write_text(stdin or "")
            asked = {"code": code, "argv": ["pipeline", *words], "env": dict(env), "files": [*map(str, files)]}
            self._server.stdin.write(json.dumps(asked) + "\n")
            self._server.stdin.flush()
            ended = json.loads(self._server.stdout.readline())
            return subprocess.CompletedProcess(words, ended, files[1].read_text(), files[2].read_text())


@functools.cache
def warm() -> Warm:
    """The one of this process; ``tests/conftest.py`` ends it."""
    return Warm()


def serve() -> None:
    """Fork for each line, and answer with the exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    from pipeline.celery import app  # noqa: PLC0415 - only this process needs it
    from pipeline.cli import app as commands  # noqa: PLC0415

    build_each_once()
    typer.main.get_command(commands)
    assert not app.configured, "the settings are those of whoever runs it"
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


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
