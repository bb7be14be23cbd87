"""Real Redis and PostgreSQL on free loopback ports, in a private folder, for tests, demo and benchmarks."""

from __future__ import annotations

import contextlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.sandbox.postgres_server import PostgresServer
from pipeline.sandbox.redis_server import RedisServer
from pipeline.sandbox.server import Server, ServerError, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerError",
    "Servers",
    "free_port",
    "sandbox_servers",
]


class Servers:
    """The dialler's Redis, the broker's Redis and PostgreSQL, started and stopped together.

    Attributes:
        dialler_redis: the Redis that the dialler appends its CDRs to.
        broker: another Redis, for Celery.
        postgres: PostgreSQL with the empty database `cdr`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fsync: bool = True,
        appendonly: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: where they live, each in a folder of its own; created when missing.
            fsync: see `PostgresServer`.
            appendonly: see `RedisServer`; for both.
            settings: see `PostgresServer`.
        """
        self.folder = folder
        self.dialler_redis = RedisServer(folder / "dialler-redis", appendonly=appendonly)
        self.broker = RedisServer(folder / "broker", appendonly=appendonly)
        self.postgres = PostgresServer(folder / "postgres", fsync=fsync, settings=settings)

    @property
    def all(self) -> tuple[Server, ...]:
        """Each of them."""
        return (self.dialler_redis, self.broker, self.postgres)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all at the same time and wait until all answer.

        Raises:
            ServerError: one of them does not start; then none is left running.
        """
        with ThreadPoolExecutor(len(self.all)) as pool:
            starting = [pool.submit(server.start) for server in self.all]
        try:
            for started in starting:
                started.result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all at the same time."""
        with ThreadPoolExecutor(len(self.all)) as pool:
            stopping = [pool.submit(server.stop) for server in self.all]
        for stopped in stopping:
            stopped.result()


@contextlib.contextmanager
def sandbox_servers(
    folder: Path | None = None,
    *,
    fsync: bool = True,
    appendonly: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Servers]:
    """Servers for the length of a `with` block.

    Args:
        folder: kept at the end; `None` takes a temporary folder and removes it at the end.
        fsync: see `PostgresServer`.
        appendonly: see `RedisServer`.
        settings: see `PostgresServer`.

    Raises:
        ServerError: one of them does not start.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdr-sandbox-")))
        yield stack.enter_context(Servers(folder, fsync=fsync, appendonly=appendonly, settings=settings))
