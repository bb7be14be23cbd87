"""The API's process: what it is made of, and how it listens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from pipeline.api.app import THREADS, make_app
from pipeline.api.means import Means
from pipeline.api.rate import Rate
from pipeline.database.engine import make_engine
from pipeline.monitoring.health import Sign
from pipeline.recordings.decoding import Decoder
from pipeline.settings import recording_store

if TYPE_CHECKING:
    from pipeline.settings import Settings

STATEMENT_SECONDS: Final = 10
CONNECTIONS: Final = 200
"""More at once are told to come again."""


def means_from(settings: Settings, *, sign: Sign | None = None) -> Means:
    """What the settings say to work with."""
    return Means(
        engine=make_engine(
            settings.database_url,
            application="cdr-api",
            pool_size=THREADS // 2,
            statement_timeout_seconds=STATEMENT_SECONDS,
        ),
        store=recording_store(settings),
        decoder=Decoder(),
        rate=Rate(settings.pipeline_api_rate),
        region=settings.pipeline_region,
        reason_needed=settings.recordings_listening_reason == "required",
        sign=sign,
    )


def run_api(settings: Settings) -> None:
    """Serve the API in this process until SIGTERM or SIGINT.

    Args:
        settings: the process's settings.
    """
    sign = Sign(Path(settings.pipeline_run_dir), "api")
    config = uvicorn.Config(
        make_app(means_from(settings, sign=sign)),
        host=settings.pipeline_api_address,
        port=settings.pipeline_api_port,
        log_config=None,  # its loggers write as all of ours do
        access_log=False,  # the application writes a line a request, without numbers
        server_header=False,
        forwarded_allow_ips=settings.pipeline_api_proxies,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=max(1, int(settings.pipeline_stop_seconds)),
    )
    uvicorn.Server(config).run()
