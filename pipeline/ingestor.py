"""The ingestor's process: what it is made of, and the signals that end it. What it does is in ``ingest/loop.py``."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.batches.rules.steps import Step
from pipeline.database.engine import make_engine
from pipeline.dialler.cdr_list import CdrList
from pipeline.ingest.loop import Ingestor
from pipeline.ingest.rules.pace import Pace
from pipeline.monitoring import metrics
from pipeline.monitoring.health import Sign, ingestor_name
from pipeline.tasks.flow import send_step

if TYPE_CHECKING:
    from pipeline.settings import Settings


STATEMENT_SECONDS = 60
"""The longest that a statement of ours may take; a COPY takes tens of milliseconds."""


def pace_of(settings: Settings) -> Pace:
    """The pace that the settings ask for."""
    return Pace(
        batch_size=settings.pipeline_batch_size,
        max_unfinished=settings.pipeline_max_unfinished_batches,
        max_unfinished_records=10 * settings.pipeline_batch_size,
    )


def run_ingestor(settings: Settings) -> None:
    """Run an ingestor in this process until SIGTERM or SIGINT.

    Args:
        settings: the process's settings.
    """
    cdr_list = CdrList(
        settings.enigma_redis_url,
        settings.enigma_list,
        pop_end=settings.enigma_pop_end,
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        keep_seconds=settings.pipeline_keep_claims_seconds,
    )
    ingestor = Ingestor(
        cdr_list,
        make_engine(
            settings.database_url,
            application="cdr-ingestor",
            pool_size=1,
            statement_timeout_seconds=STATEMENT_SECONDS,
        ),
        source=settings.enigma_source,
        send=lambda batch: send_step(Step.NORMALIZE, batch),
        send_alone=lambda batch: send_step(Step.NORMALIZE, batch, told=False),
        pace=pace_of(settings),
        sign=Sign(Path(settings.pipeline_run_dir), ingestor_name(settings.enigma_source)),
    )

    def stop(*_: Any) -> None:
        ingestor.stop()

    if settings.pipeline_metrics_port:
        port = metrics.port_of("ingestor", settings.pipeline_metrics_port)
        metrics.serve(metrics.count_here(), settings.pipeline_metrics_address, port)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ingestor.run()
