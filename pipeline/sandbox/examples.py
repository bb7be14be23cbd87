"""Two integrators behind the sandbox's pipeline: the programs of ``deploy/examples/``, and what came to them."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from sqlalchemy import text

from pipeline.sandbox.redis_server import RedisServer
from pipeline.sandbox.server import free_port
from pipeline.sandbox.stack import ROOT, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from pipeline.sandbox.stack import Stack

HOST: Final = "127.0.0.1"
"""Where the receiver is: webhooks may go there in the sandbox, and in no deployment unless its settings say so."""

CRM, SHOP = "crm", "shop"
LIST: Final = "crm:cdrs"
BATCH: Final = 100


class Came(NamedTuple):
    """What came to one of them."""

    name: str
    sink: str
    given: int
    """Events, by the feed's own count."""
    received: int
    """Events, by the program's output."""
    once: bool
    """Whether what was received is what was to be given, each once."""


class Examples:
    """A consumer that pops elements off a list on its own Redis, and a receiver of webhooks.

    Args:
        stack: whose pipeline they subscribe to; its database is migrated. It starts and stops their programs.
        folder: for the Redis and the secret.
    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.redis = RedisServer(folder / "crm-redis", appendonly=False)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.redis.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.stop()

    def start(self) -> None:
        """Subscribe both and start their programs.

        Raises:
            StackError: with what the pipeline said.
        """
        secret, port = self._folder / "shop-secret.txt", free_port()
        secret.write_text("whsec_" + base64.b64encode(os.urandom(32)).decode())
        end = "end=left"  # who pops on the right gets the oldest first
        self._add(CRM, "redis-list", "call.received", "raw", f"url={self.redis.url}", f"list={LIST}", end)
        hook = f"url=http://{HOST}:{port}/calls"
        self._add(SHOP, "webhook", "call.finished", "call", hook, f"batch={BATCH}", secret=secret)
        self._run(CRM, "consumer.py", self.redis.url, LIST)
        self._run(SHOP, "receiver.py", str(port), str(secret))

    def _add(self, name: str, sink: str, kind: str, shape: str, *settings: str, secret: Path | None = None) -> None:
        hidden = () if secret is None else ("--secret-file", f"secret={secret}")
        added = self._stack.run(
            *("pipeline", "subscriber", "add", name, "--sink", sink, "--source", "*", "--campaign", "*"),
            *("--kind", kind, "--shape", shape, *hidden, *(part for each in settings for part in ("--set", each))),
        )
        if added.returncode != 0:
            raise StackError(added.stdout + added.stderr)

    def _run(self, name: str, program: str, *arguments: str) -> None:
        words = (sys.executable, str(ROOT / "deploy" / "examples" / program), *arguments)
        self._stack.start_as(name, shlex.join(words))

    def wait(self, connection: Connection, *, seconds: float) -> list[Came]:
        """What came to them, once they have all that they were given, or the time is up."""
        until = time.monotonic() + seconds
        while True:
            found = self.came(connection)
            if all(each.received >= each.given for each in found) or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def came(self, connection: Connection) -> list[Came]:
        """What came to them so far."""
        connection.rollback()
        rows = connection.execute(text("SELECT name, sink, delivered FROM subscribers ORDER BY name"))
        subscribed = {row.name: row for row in rows}
        return [self._came_to_crm(connection, *subscribed[CRM]), self._came_to_shop(*subscribed[SHOP])]

    def _came_to_crm(self, connection: Connection, name: str, sink: str, given: int) -> Came:
        # A line each, but for the records with line feeds in them, which no call has.
        expected: Counter[int] = Counter()
        more = 0
        for (raw,) in connection.execute(text("SELECT raw FROM inbox"), execution_options={"yield_per": 1_000}):
            lines = bytes(raw).split(b"\n")
            expected.update(map(hash, lines))
            more += len(lines) - 1
        came = Counter(hash(line) for line in self._lines(name))
        return Came(name, sink, given, came.total() - more, came == expected)

    def _came_to_shop(self, name: str, sink: str, given: int) -> Came:
        ids = [event["id"] for line in self._lines(name) for event in json.loads(json.loads(line)["body"])]
        return Came(name, sink, given, len(ids), len(ids) == len(set(ids)) == given)

    def _lines(self, name: str) -> Iterator[bytes]:
        with self._stack.log_of(name).open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]
