"""``pipeline …`` called in this process: the same entry and the same words, without the second that a new one costs."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest import mock

import typer.main
from sqlalchemy import create_engine

from pipeline.__main__ import main
from pipeline.database import engine as database
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEEDS_A_PROCESS = {"api", "ingest", "doctor", "release", "db"}
"""Those that run until a signal, set up this process's logging, or load Celery, which reads its settings once."""


def build_each_once() -> None:
    """Have typer build a command line once in this process, and not for each command anew: that takes it 50 ms.

    What it builds holds nothing of the command that is run.
    """
    if not hasattr(typer.main.get_group, "cache_info"):
        typer.main.get_group = functools.cache(typer.main.get_group)


def call(*words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What running ``pipeline`` with these words and this environment comes to."""
    said, complained = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "argv", ["pipeline", *words]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        _connections_closed(),
    ):
        current_settings.cache_clear()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            current_settings.cache_clear()
    return subprocess.CompletedProcess(words, code, said.getvalue(), complained.getvalue())


@contextlib.contextmanager
def _connections_closed() -> Iterator[None]:
    """Do what the end of a process does to its connections."""
    made = []

    def make(*args: Any, **options: Any) -> Any:
        made.append(create_engine(*args, **options))
        return made[-1]

    with mock.patch.object(database, "create_engine", make):
        try:
            yield
        finally:
            for engine in made:
                engine.dispose()
