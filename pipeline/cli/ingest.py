"""``pipeline ingest``: the ingestor's process."""

from __future__ import annotations

from pipeline.settings import current_settings, start_logging


def ingest() -> None:
    """Drain the dialler's list into the inbox until stopped. A second one stands by for the first."""
    from pipeline.ingestor import run_ingestor  # noqa: PLC0415 - Celery loads slowly, and no other command needs it

    start_logging()
    run_ingestor(current_settings())
