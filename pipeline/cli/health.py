"""``pipeline health``: is a process on this machine well? For supervisors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import AsJson  # noqa: TC001 - typer reads the annotations
from pipeline.cli.exits import FOUND
from pipeline.cli.output import print_json
from pipeline.monitoring.health import (
    ALIVE_WITHIN_SECONDS,
    Health,
    age_of,
    finished_lately,
    has_queues,
    run_dir,
    sign_name,
    stuck_download,
)
from pipeline.monitoring.health import health as look

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def health(
    process: Annotated[
        str,
        typer.Argument(
            help="ingestor, worker, recordings, feed, beat, flower or api; or a worker's --hostname up to the @."
        ),
    ],
    within: Annotated[float, typer.Option(help="Seconds its last sign of life may be old.")] = ALIVE_WITHIN_SECONDS,
    progress: Annotated[
        float | None,
        typer.Option(
            help="Also: of a worker, its queues may not wait while nothing ends, nor a download stand still, for so "
            "many seconds."
        ),
    ] = None,
    *,
    ready: Annotated[bool, typer.Option("--ready", help="Also: it can do its work.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a process on this machine is well. Exit code 1 when it is not."""
    found = look(process, within_seconds=within, ready=ready)
    if found.well and progress is not None and has_queues(process):
        name = sign_name(process)
        found = stuck_download(name, progress) or progress_of(name, progress)
    if as_json:
        print_json(found._asdict())
    else:
        print(found.says)  # noqa: T201 - as the quick way in pipeline/__main__.py does, which knows no rich
    if not found.well:
        raise typer.Exit(FOUND)


def progress_of(name: str, longest_seconds: float) -> Health:
    """Whether a worker that has messages waiting finishes any.

    A message may have come this instant, so the first time that messages wait is only noted down, in ``NAME.waiting``;
    the worker is unwell when they still do ``longest_seconds`` later and nothing ended in between. Ask regularly.
    """
    if lately := finished_lately(name, longest_seconds):
        return lately
    waiting, finished = run_dir() / f"{name}.waiting", age_of(run_dir() / f"{name}.finished")
    queues = _queues_of(run_dir() / f"{name}.ready")
    if not queues:
        return Health(well=True, says=f"{name} lives and is not ready; it takes nothing from its queues yet")
    count = _count_messages(queues)
    if count is None:
        return Health(well=True, says=f"{name} lives; the broker cannot be asked what waits, which no restart mends")
    if count == 0:
        waiting.unlink(missing_ok=True)
        return Health(well=True, says=f"{name} has nothing to do")
    since = age_of(waiting)
    if since is None or (finished is not None and finished < since):
        waiting.write_text("", encoding="utf-8")
        since = 0.0
    says = f"{count} messages wait for {name}, for {since:.0f} s, and it finished none"
    return Health(well=since < longest_seconds, says=says)


def _queues_of(ready: Path) -> list[str]:
    """The queues a worker reads, which it says when it is ready."""
    try:
        return ready.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _count_messages(queues: Iterable[str]) -> int | None:
    """How many messages are in queues; None when nobody can tell."""
    from pipeline.celery import app  # noqa: PLC0415 - Celery loads slowly
    from pipeline.monitoring.waiting import count_messages  # noqa: PLC0415

    try:
        with app.connection_for_read(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            return sum(count_messages(connection, queue) for queue in queues)
    except Exception:  # noqa: BLE001 - each transport has errors of its own
        return None
