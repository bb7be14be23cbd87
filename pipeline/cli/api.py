"""``pipeline api``: the HTTP API's process."""

from __future__ import annotations

from pipeline.settings import current_settings, start_logging


def api() -> None:
    """Serve the HTTP API until stopped: calls, recordings, contacts and the feed, for programs with a token."""
    from pipeline.api.server import run_api  # noqa: PLC0415 - no other command needs what it loads

    start_logging()
    run_api(current_settings())
