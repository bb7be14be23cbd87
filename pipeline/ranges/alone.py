"""One run at a time of what changes the tables themselves."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from pipeline.errors import PipelineError

LOCK: Final = 712_004_314
"""An advisory lock; any number will do that nobody else here takes."""


@contextmanager
def alone(engine: Engine, otherwise: PipelineError) -> Iterator[None]:
    """Be the only one that moves or drops; a connection of its own keeps others out until the end.

    Args:
        engine: the database.
        otherwise: what is raised where another run is at it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}):
            raise otherwise
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
