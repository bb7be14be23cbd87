"""What the API works with: made once a process, and reached from every request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from anyio import CapacityLimiter

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.requests import Request

    from pipeline.api.rate import Rate
    from pipeline.monitoring.health import Sign
    from pipeline.recordings.decoding import Decoder
    from pipeline.recordings.file_store import RecordingStore

LISTENERS = 8
"""Threads for those who listen: others must not wait behind them."""


@dataclass
class Means:
    """What answers are made with."""

    engine: Engine
    store: RecordingStore
    decoder: Decoder
    rate: Rate
    region: str
    """That of numbers without a country, such as ZA."""
    reason_needed: bool
    """Whether whoever listens must say why."""
    sign: Sign | None = None
    ready: bool = False
    """Whether the database answered when it was last asked."""
    listeners: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(LISTENERS))


def means_of(request: Request) -> Means:
    """Those of the application that a request came to."""
    return cast("Means", request.app.state.means)
