"""Bars that show how far a command is, on a terminal only: never among what it prints."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.output import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def of_bytes(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """How much of a file is done; yields what is told how many bytes those are so far.

    Args:
        what: is being done.
        total: bytes of it.
    """
    with _bar(*_SAYS, DownloadColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextlib.contextmanager
def of_things(what: str, things: str, *, total: int | None = None, shown: bool = True) -> Iterator[Callable[..., None]]:
    """How many are done; yields what is told how many those are and, where that was not known, of how many.

    Args:
        what: is being done.
        things: what they are called.
        total: how many there are; None: each time it is said.
        shown: whether at all.
    """
    columns = (*_SAYS, MofNCompleteColumn(), TextColumn(things), TimeElapsedColumn(), TimeRemainingColumn())
    with _bar(*columns, shown=shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of=total: bar.update(task, completed=done, total=of)


_SAYS = (TextColumn("{task.description}"), BarColumn())


def _bar(*columns: ProgressColumn, shown: bool = True) -> Progress:
    return Progress(*columns, console=errors, transient=True, disable=not (shown and errors.is_terminal))
