"""The task that makes the ranges of the month to come, so that its records find them there."""

from __future__ import annotations

from pipeline.celery import note, task
from pipeline.database.ranges import make_ranges
from pipeline.tasks.resources import engine


@task("ranges.make")
def make() -> str:
    """Make what is missing of the next month's ranges; nearly always nothing is."""
    with engine().begin() as connection:
        made = make_ranges(connection)
    note(made=made, idle=not made)
    return f"done: {made} ranges made"
