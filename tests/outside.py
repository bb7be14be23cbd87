"""Programs of the pipeline with something changed from outside before they start; they know nothing of it."""

from __future__ import annotations

import importlib
import runpy
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def wrap(module_name: str, name: str, change: Callable[[Any], Any]) -> None:
    """Replace a function or method by what ``change`` makes of it."""
    owner = importlib.import_module(module_name)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, change(getattr(owner, last)))


def run_program(command: Sequence[str]) -> None:
    """Be the program on PATH that a command names, with its arguments."""
    program = shutil.which(command[0])
    assert program is not None
    sys.argv = [program, *command[1:]]
    runpy.run_path(program, run_name="__main__")
