"""Takes webhooks with as little work as it can, in a process of its own: what is measured is who sends them.

    python -m tests.bench.receiver take

It prints its port. ``take`` answers 204 and asks nothing; ``note`` keeps when each call came, which a ``GET`` tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

from pipeline.sandbox.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """A receiver in another process.

    Attributes:
        pid: its process.
        url: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{int(process.stdout.readline())}/"

    def came(self) -> dict[str, float]:
        """When each call came first, in Unix seconds, by its reference; of one that takes notes."""
        with urllib.request.urlopen(self.url, timeout=30) as answer:
            came: dict[str, float] = json.load(answer)
        return came


@contextlib.contextmanager
def receiver(mode: str) -> Iterator[Receiver]:
    """A receiver for the length of a ``with`` block."""
    command = [sys.executable, "-m", "tests.bench.receiver", mode]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Receiver(process)
        finally:
            process.kill()


class _Server:
    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._came: dict[str, float] = {}

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**24)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):
                    told = json.dumps(self._came).encode()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(told) + told
                    )
                    break
                body = await reader.readexactly(_length(head))
                if self._mode == "note":
                    self._note(body)
                writer.write(TAKEN)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()

    def _note(self, body: bytes) -> None:
        at, said = time.time(), json.loads(body)
        for event in said if isinstance(said, list) else [said]:
            self._came.setdefault(event["subject"], at)


def _length(head: bytes) -> int:
    """What a request's head says of its body.

    >>> _length(b"POST / HTTP/1.1\\r\\nContent-Length: 12\\r\\n\\r\\n")
    12
    """
    lines = (line.partition(b":") for line in head.lower().splitlines())
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


if __name__ == "__main__":
    asyncio.run(_Server(sys.argv[1]).serve())
