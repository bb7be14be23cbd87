"""What a worker process holds for its tasks."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipeline.database.engine import make_engine
from pipeline.settings import current_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


@functools.cache
def engine() -> Engine:
    """This worker process's connections; opened at the first task, hence after the fork, and one a thread at most."""
    settings = current_settings()
    return make_engine(
        settings.database_url, application="cdr-worker", pool_size=min(max(2, settings.recordings_concurrency), 16)
    )
