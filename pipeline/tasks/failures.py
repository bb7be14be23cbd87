"""The task that does what a person asked for to all failures that match a filter."""

from __future__ import annotations

from pipeline.celery import note, task
from pipeline.failures import bulk
from pipeline.settings import current_settings
from pipeline.tasks.resources import engine

BULK_SECONDS = 5.0
"""How long one task works before it lets others have the worker; less than ``RESEND_AFTER_SECONDS``."""


@task("pipeline.act_in_bulk")
def act_in_bulk(bulk_id: int) -> str:
    """Do what a person asked for to every failure of a filter; what is left at the end goes on as a new task."""
    result = bulk.run_bulk(engine(), bulk_id, seconds=BULK_SECONDS, region=current_settings().pipeline_region)
    if not result.ended and result.done:  # else something holds it up, and the reconciler comes back to it
        act_in_bulk.send(bulk_id=bulk_id)
    note(failures=result.done)
    return f"{'done' if result.ended else 'goes on'}: {result.done} failures"
