"""``pipeline ingest``: the ingestor's process."""

from __future__ import annotations

from pipeline.logs.setup import configure_logging
from pipeline.settings import current_settings


def ingest() -> None:
    """Drain the dialler's list into the inbox until stopped. A second one stands by for the first."""
    from pipeline.ingestor import run_ingestor  # noqa: PLC0415 - Celery loads slowly, and no other command needs it

    settings = current_settings()
    configure_logging(
        settings.pipeline_log_format,
        settings.pipeline_log_level,
        show_numbers=settings.pipeline_log_numbers == "shown",
    )
    run_ingestor(settings)
