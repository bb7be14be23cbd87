"""The task of the archive: closed months and what has changed of them, some minutes at a time."""

from __future__ import annotations

import socket
import time
from typing import Final

from pipeline.archive.arrow import arrow
from pipeline.archive.months import months_to_archive
from pipeline.archive.rules.places import Place
from pipeline.archive.rules.refused import ArchiveAwayError, ArchiveError, BusyError
from pipeline.archive.run import Done, archive_month
from pipeline.archive.store import ArchiveStore
from pipeline.celery import log, note, task
from pipeline.database.engine import reading
from pipeline.monitoring.heartbeats import ARCHIVER, beat, last_seen
from pipeline.settings import current_settings
from pipeline.tasks.resources import engine

AGAIN_SECONDS: Final = 20 * 3600
"""How long after that beat's ticks do nothing: once a day it looks, whenever beat was restarted."""
BEFORE_ALL: Final = Place("", "")
"""No dialler and no month comes before it."""
WORK_SECONDS: Final = 120.0
"""Before the next day of calls is begun; what is left goes on as a new task, so that others have their turn."""


@task("archive.run")
def run() -> str:
    """Archive what is new of the months that are over, unless that was done within a day."""
    if current_settings().archive_url and _looked_lately():
        note(idle=True)
        return "nothing to do: every month was looked at within a day"
    return _archive(BEFORE_ALL)


@task("archive.go_on")
def go_on(source: str, month: str) -> str:
    """Archive what is new of a month that was begun, and of those behind it, by dialler and month."""
    return _archive(Place(source, month))


def _archive(begin: Place) -> str:
    settings = current_settings()
    if not settings.archive_url:
        note(idle=True)
        return "off: ARCHIVE_URL is not set"
    try:
        arrow()
        return _from(ArchiveStore(settings.archive_url, settings.archive_storage_options), begin)
    except ArchiveAwayError as error:
        log.error("archive_away", reason=str(error))
        return f"waits: {error}"
    except ArchiveError as error:
        log.error("archive_not_possible", reason=str(error))
        return f"failed: {error}"


def _from(store: ArchiveStore, begin: Place) -> str:
    ends = time.monotonic() + WORK_SECONDS
    with reading(engine()) as connection:
        places = sorted(place for place in months_to_archive(connection) if place >= begin)
    written = calls = failed = 0
    for place in places:
        done = _month(store, place, ends, go_on=place == begin)
        failed += done is None
        written, calls = (written + done.written, calls + done.rows) if done is not None else (written, calls)
        if done is not None and done.stopped:
            go_on.send(**place._asdict())
            break
    else:
        _looked()
    note(written=written, calls=calls, failed=failed)
    return f"done: {written} days written, {calls} calls, {failed} months that cannot be"


def _month(store: ArchiveStore, place: Place, ends: float, *, go_on: bool) -> Done | None:
    """Archive a month; None: it cannot be as it stands, which is said, and others can."""
    try:
        return archive_month(engine(), store, place, go_on=go_on, enough=lambda: time.monotonic() >= ends)
    except BusyError as error:
        log.info("archive_busy", month=place.month, source=place.source, reason=str(error))
    except ArchiveError as error:
        log.error("month_not_archived", month=place.month, source=place.source, reason=str(error))
    return None


def _looked_lately() -> bool:
    with reading(engine()) as connection:
        ago = last_seen(connection, ARCHIVER).get("")
    return ago is not None and ago < AGAIN_SECONDS


def _looked() -> None:
    with engine().begin() as connection:
        beat(connection, ARCHIVER, who=socket.gethostname())
