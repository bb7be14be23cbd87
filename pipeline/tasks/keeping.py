"""The task of what is kept so long and no longer, but for recordings, which only their own workers reach."""

from __future__ import annotations

from pipeline.celery import note, task
from pipeline.database import access_log
from pipeline.database.engine import reading
from pipeline.tasks.resources import engine


def anything_due() -> bool:
    """Whether anything is older than it is kept; for beat, in its own process."""
    with reading(engine()) as connection:
        return access_log.any_due(connection)


@task("keeping.expire_access_log", only_when=anything_due)
def expire_access_log() -> str:
    """Delete who heard or searched what, where it is older than it is kept."""
    deleted = access_log.expire(engine())
    note(deleted=deleted, idle=not deleted)
    return f"done: {deleted} entries of the access log deleted"
