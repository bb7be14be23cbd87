"""Audio on its way to whoever listens: read in threads of its own, for no longer than anybody needs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio import CapacityLimiter
    from starlette.types import Send

    from pipeline.recordings.listening import Answer

SECONDS: Final = 900
"""How long one answer may take: whoever reads slower is cut off, and goes on with a range."""


class AudioResponse(StreamingResponse):
    """The answer to whoever listens.

    Args:
        answered: what is answered.
        threads: those that may be taken for reading.
    """

    def __init__(self, answered: Answer, threads: CapacityLimiter) -> None:
        super().__init__(_read(answered, threads), answered.status, answered.headers)

    async def stream_response(self, send: Send) -> None:
        """Send it, and let go what it is read from, however that ends."""
        async with contextlib.aclosing(self.body_iterator), asyncio.timeout(SECONDS):  # type: ignore[type-var]
            await super().stream_response(send)


async def _read(answered: Answer, threads: CapacityLimiter) -> AsyncIterator[bytes]:
    try:
        while part := await anyio.to_thread.run_sync(next, answered.parts, b"", limiter=threads):
            yield part
    finally:
        answered.parts.close()  # type: ignore[attr-defined]  # a generator
